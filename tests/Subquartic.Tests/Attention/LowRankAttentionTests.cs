using Subquartic.Attention;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Tests.Attention;

public class LowRankAttentionTests
{
    private static readonly KernelSet Judge = KernelSet.Create("scalar", 1);

    public static TheoryData<int, int, int, int, double, double> Cases
    {
        get
        {
            var data = new TheoryData<int, int, int, int, double, double>();
            foreach (double tolerance in new[] { 1e-1, 1e-2, 1e-3 })
            {
                data.Add(300, 700, 8, 8, 0.5, tolerance);
                data.Add(257, 1500, 4, 3, 2, tolerance);
                data.Add(1, 2000, 2, 5, 1, tolerance);
                data.Add(400, 900, 8, 8, 30, tolerance);
                data.Add(129, 1025, 16, 1, 0.2, tolerance);
                data.Add(64, 64, 3, 2, 0, tolerance);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void Error_stays_within_the_certified_bound(int queries, int keys, int width, int valueWidth, double range, double tolerance)
    {
        foreach (int seed in Enumerable.Range(0, 3))
        {
            var random = new Random(seed);
            using FloatBuffer q = Fill(random, queries, width, Math.Sqrt(range), offset: seed);
            using FloatBuffer k = Fill(random, keys, width, Math.Sqrt(range), offset: -2 * seed);
            using FloatBuffer v = Fill(random, keys, valueWidth, 3, offset: 10 * seed);
            using var output = new FloatBuffer((long)queries * valueWidth);
            using var expected = new FloatBuffer((long)queries * valueWidth);
            var input = new AttentionInput(Head(q, queries, width), Head(k, keys, width), Head(v, keys, valueWidth), 1f / width);
            using var attention = new LowRankAttention(KernelSet.Best, tolerance);
            Certificate certificate = attention.Attend(input, Head(output, queries, valueWidth));
            Judge.Attention(input.Queries, input.Keys, input.Values, input.Scale, Head(expected, queries, valueWidth));
            double error = output.Span().ToArray().Zip(expected.Span().ToArray(), (a, b) => Math.Abs((double)a - b)).Max();
            if (certificate.Path != AttentionPath.Exact)
            {
                Assert.True(error <= certificate.ErrorBound + 1e-6 * (3 + (10 * seed)), $"{error} > {certificate}"); // the judge's result is rounded to float32
                Assert.True(certificate.ErrorBound <= tolerance * 6.01 + 1e-5, $"{certificate} breaks tolerance {tolerance}");
            }
        }
    }

    [Fact]
    public void Small_scores_take_the_fast_path_and_large_ones_do_not()
    {
        Assert.Equal(AttentionPath.LowRank, PathFor(0.3));
        Assert.Equal(AttentionPath.Exact, PathFor(100));
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void Values_that_are_not_finite_are_never_approximated(float bad)
    {
        var random = new Random(1);
        using FloatBuffer x = Fill(random, 2000, 4, 0.1, 0);
        x.Span()[777] = bad;
        using var output = new FloatBuffer(8000);
        using var attention = new LowRankAttention(KernelSet.Best, 1e-2);
        HeadTensor head = Head(x, 2000, 4);
        Assert.Equal(AttentionPath.Exact, attention.Attend(new AttentionInput(head, head, head, 1), Head(output, 2000, 4)).Path);
    }

    [Theory]
    [InlineData(1e-4, AttentionPath.LowRank)]
    [InlineData(1, AttentionPath.Exact)]
    public void A_head_as_wide_as_the_decoders_is_projected_when_few_directions_hold_it(double rest, AttentionPath path)
    {
        const int tokens = 1500, width = 640;
        var random = new Random(3);
        using FloatBuffer q = Flat(), k = Flat(), v = Fill(random, tokens, 6, 1, 0);
        using var output = new FloatBuffer(tokens * 6);
        using var expected = new FloatBuffer(tokens * 6);
        var input = new AttentionInput(Head(q, tokens, width), Head(k, tokens, width), Head(v, tokens, 6), 1f / width);
        using var attention = new LowRankAttention(KernelSet.Best, 1e-2);
        Certificate certificate = attention.Attend(input, Head(output, tokens, 6));
        Judge.Attention(input.Queries, input.Keys, input.Values, input.Scale, Head(expected, tokens, 6));
        double error = output.Span().ToArray().Zip(expected.Span().ToArray(), (a, b) => Math.Abs((double)a - b)).Max();
        Assert.Equal(path, certificate.Path);
        Assert.InRange(error, 0, certificate.ErrorBound + 1e-6);
        Assert.True(path == AttentionPath.Exact || attention.Diagnosis.Width is >= 1 and <= 8);

        FloatBuffer Flat()
        {
            FloatBuffer buffer = Fill(random, tokens, width, rest, 0);
            for (int i = 0; i < tokens; i++)
            {
                double a = (2 * random.NextDouble()) - 1, b = (2 * random.NextDouble()) - 1;
                for (int l = 0; l < width; l++)
                {
                    buffer.Span()[(i * width) + l] += (float)((a * Math.Cos(l)) + (b * Math.Sin(l)));
                }
            }

            return buffer;
        }
    }

    private static AttentionPath PathFor(double range)
    {
        var random = new Random(1);
        using FloatBuffer q = Fill(random, 2000, 4, Math.Sqrt(range), 0);
        using FloatBuffer k = Fill(random, 2000, 4, Math.Sqrt(range), 0);
        using var output = new FloatBuffer(8000);
        using var attention = new LowRankAttention(KernelSet.Best, 1e-3);
        return attention.Attend(new AttentionInput(Head(q, 2000, 4), Head(k, 2000, 4), Head(k, 2000, 4), 0.25f), Head(output, 2000, 4)).Path;
    }

    private static FloatBuffer Fill(Random random, int rows, int columns, double size, double offset)
    {
        var buffer = new FloatBuffer((long)rows * columns);
        foreach (ref float value in buffer.Span())
        {
            value = (float)(size * (2 * random.NextDouble() - 1) + offset);
        }

        return buffer;
    }

    private static HeadTensor Head(FloatBuffer buffer, int rows, int width) => HeadTensor.Interleaved(buffer.Matrix(rows, width), 1, 1);
}
