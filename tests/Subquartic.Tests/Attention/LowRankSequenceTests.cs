using Subquartic.Attention;
using Subquartic.Criteria;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Tests.Attention;

public sealed class LowRankSequenceTests : IDisposable
{
    private const int Width = 4, ValueWidth = 3;

    private static readonly int[] Scales = [64, 96, 160, 300, 700];

    // Neither directions nor outliers, whose choice depends on the numbers drawn.
    private static readonly LowRankReductions Plain = LowRankReductions.All with { Rotation = false, Projection = false, OutlierKeys = false };

    private readonly KernelSet _kernels = KernelSet.Create(KernelSet.Best.Name, 1);

    [Fact]
    public void Each_key_is_featurized_once_and_the_result_is_that_of_masked_attention_at_once()
    {
        // The first scale holds both corners of the keys, so that centres are the same from the start; queries are not centred.
        using FloatBuffer memory = Draw(_ => 0, out Matrix q, out Matrix k, out Matrix v);
        var options = new LowRankOptions { Tolerance = 1e-2, OnlyWhenFaster = false, Reductions = Plain with { QueryCentring = false, RowPolynomials = false } };
        using var strategy = new LowRankAttention(_kernels, options);
        using LowRankSequence sequence = strategy.CreateSequence();
        Run(sequence, strategy, q, k, v, (certificate, difference) =>
        {
            Assert.Equal(AttentionPath.LowRank, certificate.Path);
            Assert.InRange(difference, 0, 1e-6); // values of at most 1: rounding alone
        });

        Assert.Equal((k.Rows, 0), (sequence.FeaturizedKeys, sequence.Translations));
        Assert.Equal(MonomialBasis.CountOf(Width, strategy.Diagnosis.Degree) * 6 * sizeof(double), sequence.MomentBytes); // three values, a weight, two of padding
    }

    [Fact]
    public void Moments_follow_keys_that_move_and_the_certificate_holds()
    {
        using FloatBuffer memory = Draw(scale => 0.35f * scale, out Matrix q, out Matrix k, out Matrix v);
        using var strategy = new LowRankAttention(_kernels, new LowRankOptions { Tolerance = 1e-2, OnlyWhenFaster = false, Reductions = Plain });
        using LowRankSequence sequence = strategy.CreateSequence();
        Run(sequence, new ReferenceAttention(), q, k, v, (certificate, difference) =>
        {
            AssertCertified(certificate, difference);
            Assert.InRange(certificate.ErrorBound, 0, 0.021);
        });

        Assert.True(sequence.Translations > 0);
        Assert.Equal(k.Rows, sequence.FeaturizedKeys);
    }

    [Fact]
    public void Keys_that_do_not_fit_begin_anew_and_so_does_a_cleared_sequence()
    {
        using FloatBuffer memory = Draw(scale => scale == 4 ? 40 : 0, out Matrix q, out Matrix k, out Matrix v);
        using var strategy = new LowRankAttention(_kernels, new LowRankOptions { Tolerance = 1e-2, OnlyWhenFaster = false, Reductions = Plain });
        using LowRankSequence sequence = strategy.CreateSequence();
        for (int turn = 0; turn < 2; turn++)
        {
            sequence.Clear();
            Run(sequence, new ReferenceAttention(), q, k, v, AssertCertified);

            // All keys but those of the last scale, then all of them if the last call found a polynomial.
            Assert.InRange(sequence.FeaturizedKeys, (turn + 1) * (k.Rows - Scales[^1]), (turn + 1) * (2 * k.Rows - Scales[^1]));
        }
    }

    [Fact]
    public void A_coordinate_that_was_constant_so_far_is_not_overlooked()
    {
        using FloatBuffer memory = Draw(_ => 0, out Matrix q, out Matrix k, out Matrix v);
        for (int j = 0; j < Scales[0]; j++)
        {
            k.Row(j)[2] = 0.25f;
        }

        using var strategy = new LowRankAttention(_kernels, new LowRankOptions { Tolerance = 1e-2, OnlyWhenFaster = false, Reductions = Plain });
        using LowRankSequence sequence = strategy.CreateSequence();
        Run(sequence, new ReferenceAttention(), q, k, v, AssertCertified);
    }

    [Fact]
    public void Translated_moments_are_those_about_the_other_centre()
    {
        var random = new Random(1);
        var basis = new MonomialBasis(3, 5);
        double[] shift = [0.3, -0.7, 0];
        var about = new double[basis.Count * 2];
        var expected = new double[basis.Count * 2];
        for (int j = 0; j < 50; j++)
        {
            double[] x = [.. Enumerable.Range(0, 3).Select(_ => (2 * random.NextDouble()) - 1)];
            double weight = random.NextDouble();
            Add(about, x, weight);
            Add(expected, [.. x.Zip(shift, (a, h) => a - h)], weight);
        }

        basis.Translate(about, 2, shift);
        Assert.All(about.Zip(expected), pair => Assert.Equal(pair.Second, pair.First, 1e-11));

        void Add(double[] moments, double[] x, double weight)
        {
            var monomials = new double[basis.Count];
            monomials[0] = 1;
            for (int alpha = 0; alpha < basis.Count; alpha++)
            {
                monomials[alpha] = alpha == 0 ? 1 : monomials[basis.Parents[alpha]] * x[basis.Coordinates[alpha]];
                moments[2 * alpha] += monomials[alpha];
                moments[(2 * alpha) + 1] += weight * monomials[alpha];
            }
        }
    }

    public void Dispose() => _kernels.Pool.Dispose();

    private static IEnumerable<(int Start, int Count)> Steps() => Scales.Select((count, i) => (Scales[..i].Sum(), count));

    /// <summary>Attends scale by scale, with a sequence and with a strategy that sees every call for itself; hands out certificates and largest differences.</summary>
    private static void Run(LowRankSequence sequence, IAttention judge, Matrix q, Matrix k, Matrix v, Action<Certificate, double> check)
    {
        using var output = new FloatBuffer(2L * k.Rows * ValueWidth);
        foreach ((int start, int count) in Steps())
        {
            AttentionInput input = Input(q, k, v, start, count);
            HeadTensor stepwise = HeadTensor.Interleaved(output.Matrix(count, ValueWidth), 1, 1);
            HeadTensor atOnce = HeadTensor.Interleaved(output.Matrix(count, ValueWidth, (long)k.Rows * ValueWidth), 1, 1);
            Certificate certificate = sequence.Attend(input, stepwise);
            judge.Attend(input, atOnce);
            check(certificate, Difference(stepwise, atOnce));
        }
    }

    // The judge's result is rounded to float32.
    private static void AssertCertified(Certificate certificate, double difference) => Assert.InRange(difference, 0, certificate.ErrorBound + 1e-7);

    private static AttentionInput Input(Matrix q, Matrix k, Matrix v, int start, int count) => new(
        HeadTensor.Interleaved(q.SliceRows(start, count), 1, 1), HeadTensor.Interleaved(k.SliceRows(0, start + count), 1, 1),
        HeadTensor.Interleaved(v.SliceRows(0, start + count), 1, 1), 1f / Width);

    private static double Difference(HeadTensor a, HeadTensor b) =>
        Enumerable.Range(0, a.Rows).Max(i => a[0, 0].Row(i).ToArray().Zip(b[0, 0].Row(i).ToArray(), (x, y) => Math.Abs((double)x - y)).Max());

    /// <summary>Tokens of all scales, uniform in a box; the keys of a scale moved.</summary>
    private static FloatBuffer Draw(Func<int, float> move, out Matrix q, out Matrix k, out Matrix v)
    {
        int tokens = Scales.Sum();
        var memory = new FloatBuffer((long)tokens * ((2 * Width) + ValueWidth));
        q = memory.Matrix(tokens, Width);
        k = memory.Matrix(tokens, Width, (long)tokens * Width);
        v = memory.Matrix(tokens, ValueWidth, 2L * tokens * Width);
        var random = new Random(7);
        foreach (ref float value in memory.Span())
        {
            value = (2 * random.NextSingle()) - 1;
        }

        foreach (Matrix matrix in new[] { q, k, v })
        {
            matrix.Row(0).Fill(1);
            matrix.Row(1).Fill(-1);
        }

        int scale = 0;
        foreach ((int start, int count) in Steps())
        {
            q.Row(start).Fill(1); // the longest query there can be, so that all scales need the same degree
            for (int j = start; j < start + count; j++)
            {
                foreach (ref float value in k.Row(j))
                {
                    value += move(scale);
                }
            }

            scale++;
        }

        return memory;
    }
}
