using Subquartic.Attention;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Tests.Attention;

/// <summary>Low-rank attention at work in a trained model whose heads meet the criterion, wherever the tolerance can be kept.</summary>
public class LowRankGenerationTests
{
    [Theory]
    [InlineData(true, 1)]
    [InlineData(false, 1)]
    [InlineData(true, 4)] // keys of a pass give way to those of the next
    public void Certificates_hold_for_every_call_of_a_generation(bool keepMoments, int passes)
    {
        Judged? judged = null;
        using ImageGenerator generator = ImageGenerator.Load(BoundedModel(), new GeneratorOptions
        {
            Attention = kernels => judged = new Judged(
                new LowRankAttention(kernels, new LowRankOptions { Tolerance = 1e-3, OnlyWhenFaster = false }), keepMoments),
        });
        generator.Generate(new GenerationRequest { Labels = [0, 5, 9], Sampling = new() { Passes = passes } });
        Assert.Equal([], judged!.Broken);
        Assert.True(judged.Approximated > 10_000, $"{judged.Approximated} rows were approximated");
    }

    private static string BoundedModel()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder!.FullName, "Subquartic.slnx")))
        {
            folder = folder.Parent;
        }

        return Path.Combine(folder.FullName, "models", "icons-bounded");
    }

    /// <summary>Compares every call with attention in double precision.</summary>
    private sealed class Judged(LowRankAttention strategy, bool keepMoments) : IAttention
    {
        public List<string> Broken { get; } = [];

        public long Approximated { get; private set; }

        public string Name => strategy.Name;

        public Certificate Attend(in AttentionInput input, HeadTensor output) => Judge(strategy, input, output);

        public IAttentionSequence CreateSequence() => new Sequence(this, keepMoments ? strategy.CreateSequence() : null);

        private Certificate Judge(IAttention attention, in AttentionInput input, HeadTensor output)
        {
            Certificate certificate = attention.Attend(input, output);
            (int heads, int rows, int width) = (output.Batch * output.Heads, output.Rows, output.Width);
            using var memory = new FloatBuffer((long)heads * rows * width);
            var expected = new HeadTensor(memory, 0, output.Batch, output.Heads, rows, width, (long)output.Heads * rows * width, (long)rows * width, width);
            new ReferenceAttention().Attend(input, expected);
            double largest = 0;
            for (int i = 0; i < heads * rows; i++)
            {
                (int head, int row) = Math.DivRem(i, rows);
                ReadOnlySpan<float> actual = output[head / output.Heads, head % output.Heads].Row(row);
                ReadOnlySpan<float> wanted = expected[head / output.Heads, head % output.Heads].Row(row);
                for (int c = 0; c < width; c++)
                {
                    largest = Math.Max(largest, Math.Abs((double)actual[c] - wanted[c]));
                }
            }

            Approximated += certificate.Rows - certificate.ExactRows;
            if (!(largest <= certificate.ErrorBound))
            {
                Broken.Add($"{input.Keys.Rows} keys: error {largest}, bound {certificate.ErrorBound}");
            }

            return certificate;
        }

        private sealed class Sequence(Judged owner, LowRankSequence? own) : IAttentionSequence
        {
            public string Name => owner.Name;

            public Certificate Attend(in AttentionInput input, HeadTensor output) => owner.Judge(own ?? (IAttention)owner.Strategy, input, output);

            public void Clear() => own?.Clear();

            public void Dispose() => own?.Dispose();
        }

        private LowRankAttention Strategy => strategy;
    }
}
