using Subquartic.Attention;
using Subquartic.Generation;
using Subquartic.Models;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Tests.Attention;

namespace Subquartic.Tests.Models;

public sealed class VarModelTests : IDisposable
{
    private readonly SmallModel _small = new();

    private static int Others => SmallModel.Var.Scales.Tokens - SmallModel.Var.Scales[0].Tokens;

    public static TheoryData<string> VectorKernelNames => new(KernelSet.Available.Skip(1));

    public void Dispose() => _small.Dispose();

    [Fact]
    public void Scale_by_scale_gives_the_bits_of_all_scales_at_once()
    {
        // Every row goes through the same operations either way, and a query sees the same prefix of keys.
        float[] atOnce = TeacherForced("vector256", threads: 1, [2, 4], seeds: [1, 2]);
        float[] cached = Cached("vector256", threads: 1, [2, 4], seeds: [1, 2], guided: false);
        Assert.Equal(atOnce, cached);
    }

    [Fact]
    public void Rotated_keys_are_cached_and_rotation_changes_the_logits()
    {
        float[] atOnce = TeacherForced("vector256", threads: 1, [2, 4], seeds: [1, 2], ropeBase: 100);
        Assert.Equal(atOnce, Cached("vector256", threads: 2, [2, 4], seeds: [1, 2], guided: false, ropeBase: 100));
        float[] plain = TeacherForced("vector256", threads: 1, [2, 4], seeds: [1, 2]);
        Assert.True(atOnce.Zip(plain, (a, b) => Math.Abs(a - b)).Max() > 1e-3);
    }

    [Theory]
    [MemberData(nameof(VectorKernelNames))]
    public void All_kernels_agree_with_the_judge(string kernels)
    {
        float[] judge = TeacherForced("scalar", threads: 1, [1], seeds: [3]);
        float[] actual = TeacherForced(kernels, threads: 1, [1], seeds: [3]);

        // Logits are about 10; two blocks of float32 sums of up to 80 terms keep six digits, and a wrong operation does not keep one.
        for (int i = 0; i < judge.Length; i++)
        {
            Assert.Equal(judge[i], actual[i], 1e-4);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void The_bits_of_an_image_depend_on_neither_batch_nor_place_nor_threads(int threads)
    {
        float[] alone = Cached("vector256", threads: 1, [3], seeds: [5], guided: true);
        float[] batch = Cached("vector256", threads, [0, 3, 1], seeds: [4, 5, 6], guided: true);
        int row = alone.Length / 2;
        Assert.Equal(alone[..row], batch[row..(2 * row)]);
        Assert.Equal(alone[row..], batch[(4 * row)..(5 * row)]);
    }

    [Fact]
    public void The_unconditional_twin_is_the_image_without_class()
    {
        float[] guided = Cached("vector256", threads: 1, [3], seeds: [5], guided: true);
        float[] without = Cached("vector256", threads: 1, [SmallModel.Var.Classes], seeds: [5], guided: false);
        Assert.Equal(without, guided[without.Length..]);
        Assert.NotEqual(without, guided[..without.Length]);
    }

    [Fact]
    public void Steps_allocate_no_managed_memory()
    {
        KernelSet kernels = KernelSet.Create("vector256", threads: 1);
        using VarModel model = _small.LoadTransformer(kernels);
        using VarRun run = model.CreateRun(new ExactAttention(kernels), rows: 2);
        using FloatBuffer input = Input(1);
        Steps(run, input);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Steps(run, input);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());

        static void Steps(VarRun run, FloatBuffer input)
        {
            run.Begin([1], guided: true);
            for (int scale = 0; scale < SmallModel.Var.Scales.Count; scale++)
            {
                run.Step(input.Matrix(SmallModel.Var.Scales[scale].Tokens, SmallModel.Var.CodeChannels));
            }
        }
    }

    [Fact]
    public void Cancellation_takes_effect_before_the_next_block()
    {
        KernelSet kernels = KernelSet.Create("vector256", threads: 1);
        using VarModel model = _small.LoadTransformer(kernels);
        using var source = new CancellationTokenSource();
        var attention = new ObservedAttention(kernels, call =>
        {
            if (call == 3)
            {
                source.Cancel();
            }
        });
        using VarRun run = model.CreateRun(attention, rows: 1);
        run.Begin([1], guided: false);
        run.Step(default, source.Token);
        using FloatBuffer input = Input(1);
        Assert.Throws<OperationCanceledException>(() =>
            run.Step(input.Matrix(SmallModel.Var.Scales[1].Tokens, SmallModel.Var.CodeChannels), source.Token));
        Assert.Equal(3, attention.Calls);
    }

    [Fact]
    public void Mistakes_of_the_caller_are_named()
    {
        KernelSet kernels = KernelSet.Create("vector256", threads: 1);
        using VarModel model = _small.LoadTransformer(kernels);
        using VarRun run = model.CreateRun(new ExactAttention(kernels), rows: 2);
        Assert.Throws<InvalidOperationException>(() => run.Step(default));
        Assert.Contains("class 5", Assert.Throws<ArgumentException>(() => run.Begin([5], guided: false)).Message, StringComparison.Ordinal);
        Assert.Contains("needs 4 rows", Assert.Throws<ArgumentException>(() => run.Begin([1, 2], guided: true)).Message, StringComparison.Ordinal);
        run.Begin([1], guided: true);
        run.Step(default);
        using FloatBuffer input = Input(1);
        Assert.Contains("need 6 x 6", Assert.Throws<ArgumentException>(() => run.Step(input.Matrix(5, 6))).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => VarModel.Load(default, SmallModel.Var with { Heads = 5 }, kernels));
    }

    [Fact]
    public void Flops_of_the_released_model_are_those_counted_by_hand()
    {
        // 24 C^2 for each token and block, 4 C for each pair of tokens, 2 C V for the head, 2 C Cvae for the embedding.
        const long depth = 16, tokens = 680, pairs = 286434, width = 1024;
        long expected = depth * (24 * width * width * tokens + 4 * width * pairs) + 2 * width * (4096 + 32) * tokens;
        Assert.Equal(expected, Enumerable.Range(0, 10).Sum(scale => VarConfig.Released(16).Flops(scale, rows: 1)));
        Assert.Equal(596.6e9, 2 * expected, 0.1e9);
        Assert.Equal(394e9, VqVaeConfig.Released.DecoderFlops(ScaleSchedule.Var256.Last), 1e9);
    }

    private static FloatBuffer Input(int seed)
    {
        var random = new Random(seed);
        var input = new FloatBuffer((long)Others * SmallModel.Var.CodeChannels);
        foreach (ref float value in input.Span())
        {
            value = 2 * random.NextSingle() - 1;
        }

        return input;
    }

    // Logits (B, L, V).
    private float[] TeacherForced(string name, int threads, int[] labels, int[] seeds, float? ropeBase = null)
    {
        KernelSet kernels = KernelSet.Create(name, threads);
        using VarModel model = _small.LoadTransformer(kernels, ropeBase);
        VarConfig config = model.Config;
        using var input = new FloatBuffer((long)labels.Length * Others * config.CodeChannels);
        for (int image = 0; image < labels.Length; image++)
        {
            using FloatBuffer one = Input(seeds[image]);
            one.Span().CopyTo(input.Span()[(int)(image * one.Length)..]);
        }

        using var logits = new FloatBuffer((long)labels.Length * config.Scales.Tokens * config.Vocabulary);
        model.Forward(
            labels, input.Matrix(labels.Length * Others, config.CodeChannels), new ExactAttention(kernels),
            logits.Matrix(labels.Length * config.Scales.Tokens, config.Vocabulary));
        return logits.Span().ToArray();
    }

    // Logits (B or 2B, L, V) of the same inputs, scale by scale.
    private float[] Cached(string name, int threads, int[] labels, int[] seeds, bool guided, float? ropeBase = null)
    {
        KernelSet kernels = KernelSet.Create(name, threads);
        using VarModel model = _small.LoadTransformer(kernels, ropeBase);
        VarConfig config = model.Config;
        int rows = guided ? 2 * labels.Length : labels.Length;
        using VarRun run = model.CreateRun(new ExactAttention(kernels), rows);
        var all = new float[rows * config.Scales.Tokens * config.Vocabulary];
        run.Begin(labels, guided);
        for (int scale = 0; scale < config.Scales.Count; scale++)
        {
            int tokens = config.Scales[scale].Tokens;
            using var input = new FloatBuffer((long)labels.Length * tokens * config.CodeChannels);
            for (int image = 0; image < labels.Length && scale > 0; image++)
            {
                using FloatBuffer one = Input(seeds[image]);
                one.Span((config.Scales.Start(scale) - config.Scales[0].Tokens) * config.CodeChannels, tokens * config.CodeChannels)
                    .CopyTo(input.Span()[(image * tokens * config.CodeChannels)..]);
            }

            Matrix logits = run.Step(input.Matrix(labels.Length * tokens, config.CodeChannels));
            for (int row = 0; row < rows; row++)
            {
                logits.SliceRows(row * tokens, tokens).Span().CopyTo(
                    all.AsSpan((row * config.Scales.Tokens + config.Scales.Start(scale)) * config.Vocabulary));
            }
        }

        return all;
    }
}
