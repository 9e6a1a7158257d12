using Subquartic.Attention;
using Subquartic.Checkpoints;
using Subquartic.Generation;
using Subquartic.Layers;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Tests.Models;

namespace Subquartic.Tests.Layers;

public class RotaryEmbeddingTests
{
    private const int Width = 20; // 10 planes: whole vectors and a rest

    private static readonly ScaleSchedule Scales = new(new(1, 2), new(2, 4), new(5, 8));

    [Fact]
    public void Scores_depend_on_the_distance_alone_whatever_the_scale()
    {
        using FloatBuffer same = Rows(11, equal: true), other = Rows(12, equal: true);
        Matrix q = Turn(same), k = Turn(other);
        double At(int i, int j) => Enumerable.Range(0, Width).Sum(l => (double)q.Row(i)[l] * k.Row(j)[l]);
        int last = Scales.Start(2);
        Assert.Equal(At(last + 2, last + 13), At(last + 10, last + 21), 1e-5); // down a row and three columns on
        Assert.NotEqual(At(last + 2, last + 13), At(last + 2, last + 14), 1e-3);

        // Tokens of the second map, 2 x 4, stand two columns of the last map apart.
        Assert.Equal(At(2, 3), At(last, last + 2), 1e-5);
        Assert.Equal(At(2, 5), At(last + 1, last + 7), 1e-5);
    }

    [Fact]
    public void Turning_back_is_the_inverse_and_lengths_stay()
    {
        using FloatBuffer x = Rows(3, equal: false), start = Rows(3, equal: false);
        Matrix turned = Turn(x), before = start.Matrix(Scales.Tokens, Width);
        for (int i = 0; i < Scales.Tokens; i++)
        {
            Assert.Equal(Length(before.Row(i)), Length(turned.Row(i)), 1e-5);
        }

        Turn(x, back: true);
        for (int i = 0; i < x.Length; i++)
        {
            Assert.Equal(start.Span()[i], x.Span()[i], 1e-6);
        }

        static double Length(Span<float> row)
        {
            double sum = 0;
            foreach (float value in row)
            {
                sum += value * value;
            }

            return Math.Sqrt(sum);
        }
    }

    [Fact]
    public void A_part_of_the_sequence_turns_like_the_whole()
    {
        using FloatBuffer whole = Rows(4, equal: false), part = Rows(4, equal: false);
        Turn(whole);
        HeadTensor rows = Head(part.Matrix(Scales.Tokens, Width)).SliceRows(3, 20);
        New().Rotate(rows, 3, rows, KernelSet.Best.Pool);
        Assert.Equal(whole.Span(3 * Width, 20 * Width).ToArray(), part.Span(3 * Width, 20 * Width).ToArray());
    }

    [Fact]
    public void A_model_with_rotation_draws_with_any_strategy()
    {
        using var small = new SmallModel();
        using VarModel model = small.LoadTransformer(KernelSet.Best, ropeBase: 100);
        using var input = new FloatBuffer((long)(model.Config.Scales.Tokens - model.Config.Scales[0].Tokens) * model.Config.CodeChannels);
        input.Span().Fill(0.1f);
        float[] Logits(IAttention attention)
        {
            using var logits = new FloatBuffer((long)model.Config.Scales.Tokens * model.Config.Vocabulary);
            model.Forward([1], input.Matrix((int)input.Length / model.Config.CodeChannels, model.Config.CodeChannels), attention,
                logits.Matrix(model.Config.Scales.Tokens, model.Config.Vocabulary));
            return logits.Span().ToArray();
        }

        float[] expected = Logits(new ReferenceAttention());
        using var lowRank = new LowRankAttention(KernelSet.Best, 1e-3);
        foreach (IAttention attention in new IAttention[] { new ExactAttention(KernelSet.Best), lowRank })
        {
            float[] actual = Logits(attention);
            Assert.True(expected.Zip(actual, (a, b) => Math.Abs(a - b)).Max() < 0.05);
        }
    }

    [Fact]
    public void The_configuration_file_says_so()
    {
        string folder = Directory.CreateTempSubdirectory("subquartic-").FullName;
        try
        {
            string file = Path.Combine(folder, "var.safetensors");
            SafetensorsWriter.Write(file, new RandomTensors(TensorType.Float32, 1).Var(SmallModel.Var));
            using Checkpoint checkpoint = Checkpoint.Open(file);
            Assert.Null(VarConfig.Infer(checkpoint.Root, Config("{}")).RopeBase);
            Assert.Equal(50f, VarConfig.Infer(checkpoint.Root, Config("""{"patch_nums": [[1, 2], [2, 3], [3, 5], [4, 7]], "rope_base": 50}""")).RopeBase);
            CheckpointException error = Assert.Throws<CheckpointException>(
                () => VarConfig.Infer(checkpoint.Root, Config("""{"patch_nums": [[1, 2], [2, 3], [3, 5], [4, 7]], "rope_base": -1}""")));
            Assert.Contains("rope_base", error.Message, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        ConfigFile Config(string json)
        {
            string path = Path.Combine(folder, "var.json");
            File.WriteAllText(path, json == "{}" ? """{"patch_nums": [[1, 2], [2, 3], [3, 5], [4, 7]]}""" : json);
            return ConfigFile.Load(path);
        }
    }

    [Fact]
    public void Sizes_that_cannot_be_turned_are_refused()
    {
        Assert.Throws<ArgumentException>(() => new RotaryEmbedding(Scales, 6, 100));
        Assert.Throws<ArgumentException>(() => new RotaryEmbedding(Scales, 8, 0));
        Assert.Throws<ArgumentException>(() => RotaryEmbedding.For(SmallModel.Var with { Heads = 8, RopeBase = 100 }));
        Assert.Null(RotaryEmbedding.For(SmallModel.Var));
        using FloatBuffer x = Rows(1, equal: false);
        HeadTensor head = Head(x.Matrix(Scales.Tokens, Width));
        Assert.Throws<ArgumentException>(() => New().Rotate(head, 1, head, KernelSet.Best.Pool));
    }

    private static RotaryEmbedding New() => new(Scales, Width, 100);

    private static HeadTensor Head(Matrix matrix) => HeadTensor.Interleaved(matrix, 1, 1);

    private static Matrix Turn(FloatBuffer rows, bool back = false)
    {
        Matrix matrix = rows.Matrix(Scales.Tokens, Width);
        New().Rotate(Head(matrix), 0, Head(matrix), KernelSet.Best.Pool, back);
        return matrix;
    }

    private static FloatBuffer Rows(int seed, bool equal)
    {
        var random = new Random(seed);
        var rows = new FloatBuffer((long)Scales.Tokens * Width);
        for (int i = 0; i < rows.Length; i++)
        {
            rows.Span()[i] = equal && i >= Width ? rows.Span()[i - Width] : (2 * random.NextSingle()) - 1;
        }

        return rows;
    }
}
