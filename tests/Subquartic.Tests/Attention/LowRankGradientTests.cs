using Subquartic.Attention;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Xunit.Abstractions;

namespace Subquartic.Tests.Attention;

/// <summary>Low-rank gradients against the judge in double, on random and on hostile input.</summary>
public class LowRankGradientTests(ITestOutputHelper log)
{
    private const int Cases = 1400;

    private enum Kind
    {
        Uniform,
        Corners,
        ValuesFollowTheError,
        OneSteepRow,
        FarMeans,
        OutlierKey,
        OutlierQuery,
        ConstantCoordinate,
        EqualKeys,
        EqualValues,
        TinyGradient,
        HugeValues,
        Anisotropic,
        NoGradient,
    }

    [Fact]
    public void No_row_of_a_gradient_is_further_off_than_its_bound()
    {
        var ratios = new List<double>();
        var seen = new HashSet<Kind>();
        for (int seed = 0; seed < Cases; seed++)
        {
            var kind = (Kind)(seed % Enum.GetValues<Kind>().Length);
            using var sample = new Sample(new Random(seed), kind);
            using var sequence = new LowRankGradient();
            if (sequence.Begin(sample.Q, sample.K, sample.V, sample.Scale, sample.Segments) is not null || !sequence.Use(1 + (seed % 6)))
            {
                continue;
            }

            seen.Add(kind);
            ReferenceGradient<double> judge = sample.Judge();
            double output = sequence.Forward(sample.O);

            // What rounding in double leaves of the judge: about 2^-53 times the terms it adds.
            double[] steep = [.. Enumerable.Range(0, sample.G.Rows).Select(i => sample.G.Row(i).ToArray().Sum(Math.Abs) * (double)Largest(sample.V) * 1e-14)];
            double far = sample.Scale * (Largest(sample.K) + Largest(sample.Q)), all = steep.Sum();
            Check(judge.Output, sample.O, _ => output, "output");
            GradientCertificate certificate = sequence.Backward(sample.G, sample.DQ, sample.DK, sample.DV, GradientVariant.OfAttention);
            double[] q = sequence.QueryBounds.ToArray(), k = sequence.KeyBounds.ToArray(), v = sequence.ValueBounds.ToArray();
            Check(judge.Queries, sample.DQ, i => q[i] + (steep[i] * far), "dQ");
            Check(judge.Keys, sample.DK, j => k[j] + (all * far), "dK");
            Check(judge.Values, sample.DV, j => v[j] + (all / Math.Max(Largest(sample.V), 1e-9)), "dV");
            Assert.Equal((q.Max(), k.Max(), v.Max()), (certificate.QueryBound, certificate.KeyBound, certificate.ValueBound));

            void Check(double[] exact, Matrix actual, Func<int, double> bound, string what)
            {
                double largest = 0;
                for (int i = 0; i < actual.Rows; i++)
                {
                    double error = 0;
                    for (int c = 0; c < actual.Columns; c++)
                    {
                        error = Math.Max(error, Math.Abs(exact[(i * actual.Columns) + c] - actual.Row(i)[c]));
                    }

                    Assert.True(error <= bound(i), $"seed {seed}, {kind}, degree {sequence.Basis!.Degree}, {what} row {i}: error {error}, bound {bound(i)}");
                    largest = Math.Max(largest, error / bound(i));
                }

                ratios.Add(largest);
            }
        }

        ratios.Sort();
        log.WriteLine($"{ratios.Count / 4} of {Cases} approximated; error/bound of the worst row: median {ratios[ratios.Count / 2]:g3}, 99 % {ratios[ratios.Count * 99 / 100]:g3}, largest {ratios[^1]:g3}");
        Assert.InRange(ratios.Count / 4, Cases / 2, Cases);
        Assert.InRange(ratios[^1], 0.2, 1); // the bounds are not idle
        Assert.Equal(Enum.GetValues<Kind>().Length, seen.Count);
    }

    [Fact]
    public void The_gradient_of_the_surrogate_is_that_of_what_is_computed()
    {
        for (int seed = 0; seed < 12; seed++)
        {
            using var sample = new Sample(new Random(seed), (Kind)(seed % 3), smallest: 12);
            using var sequence = new LowRankGradient();
            Assert.Null(sequence.Begin(sample.Q, sample.K, sample.V, sample.Scale, sample.Segments));
            sequence.Use(1 + (seed % 4));
            sequence.Forward(sample.O);
            GradientCertificate certificate = sequence.Backward(sample.G, sample.DQ, sample.DK, sample.DV, GradientVariant.OfSurrogate);
            Assert.Equal(double.NaN, certificate.KeyBound);
            double[][] operands = [Values(sample.Q), Values(sample.K), Values(sample.V)];
            double[] g = Values(sample.G);
            double[] output = Surrogate(operands, sequence, sample);
            AssertClose(output, sample.O, 3e-6, "output");
            Matrix[] gradients = [sample.DQ, sample.DK, sample.DV];
            for (int o = 0; o < 3; o++)
            {
                const double h = 1e-3;
                double At(int i, double offset)
                {
                    double old = operands[o][i];
                    operands[o][i] = old + offset;
                    double sum = Surrogate(operands, sequence, sample).Zip(g, (a, b) => a * b).Sum();
                    operands[o][i] = old;
                    return sum;
                }

                double[] differences = [.. operands[o].Select((_, i) => ((8 * (At(i, h) - At(i, -h))) - (At(i, 2 * h) - At(i, -2 * h))) / (12 * h))];
                AssertClose(differences, gradients[o], 2e-5, $"seed {seed}, degree {sequence.Basis!.Degree}, operand {o}");
            }
        }
    }

    [Theory]
    [InlineData(GradientVariant.OfAttention)]
    [InlineData(GradientVariant.OfSurrogate)]
    public void Training_takes_polynomials_where_they_repay_and_is_exact_elsewhere(GradientVariant variant)
    {
        // Two heads of 1365 tokens over the scales 1, 2, …, 32: small scores in one, large ones in the other.
        const int heads = 2, width = 3, tokens = 1365;
        AttentionSegment[] segments = [.. Enumerable.Range(0, 6).Select(s => new AttentionSegment(((1 << (2 * s)) - 1) / 3, 1 << (2 * s), ((1 << (2 * s + 2)) - 1) / 3))];
        using var memory = new FloatBuffer(9L * tokens * heads * width);
        Matrix[] m = [.. Enumerable.Range(0, 9).Select(n => memory.Matrix(tokens, heads * width, (long)n * tokens * heads * width))];
        var random = new Random(5);
        for (int n = 0; n < 9; n++)
        {
            foreach (ref float value in m[n].Span())
            {
                value = n < 4 ? (2 * random.NextSingle()) - 1 : 0;
            }
        }

        for (int i = 0; i < tokens; i++)
        {
            for (int l = width; l < 2 * width; l++)
            {
                m[0].Row(i)[l] *= 15;
            }
        }

        HeadTensor[] h = [.. m.Select(matrix => HeadTensor.Interleaved(matrix, 1, heads))];
        var input = new AttentionInput(h[0], h[1], h[2], 0.3f);
        using var training = new LowRankTraining(1e-2, variant);
        float[]? before = null;
        foreach (int threads in (int[])[1, 2])
        {
            KernelSet kernels = KernelSet.Create(KernelSet.Best.Name, threads);
            foreach (Matrix gradient in m[5..8])
            {
                gradient.Span().Clear();
            }

            training.Forward(kernels, input, segments, h[4]);
            training.Backward(kernels, input, segments, h[3], h[5], h[6], h[7]);
            float[] now = memory.Span(0, (int)memory.Length).ToArray();
            Assert.Equal(before ?? now, now);
            before = now;
        }

        Assert.Equal((4, 2), (training.Heads, training.ExactHeads));
        Assert.Contains("more features", training.Reason, StringComparison.Ordinal);
        Assert.Equal(variant == GradientVariant.OfAttention, training.Largest.QueryBound is > 0 and < 1e-2);
        for (int head = 0; head < heads; head++)
        {
            double[][] values = [.. m[..4].Select(matrix => Values(matrix.SliceColumns(head * width, width)))];
            var judge = ReferenceGradient<double>.Compute(values[0], values[1], values[2], values[3], width, 0.3f, segments);
            double tolerance = head == 0 ? 1e-2 : 1e-5;
            AssertClose(judge.Output, m[4].SliceColumns(head * width, width), tolerance, "output");
            if (head == 0 && variant == GradientVariant.OfSurrogate)
            {
                continue; // it promises the gradient of the polynomials, which the test above compares
            }

            AssertClose(judge.Queries, m[5].SliceColumns(head * width, width), tolerance, "dQ");
            AssertClose(judge.Keys, m[6].SliceColumns(head * width, width), tolerance, "dK");
            AssertClose(judge.Values, m[7].SliceColumns(head * width, width), tolerance, "dV");
        }
    }

    /// <summary>The polynomial forward pass in double, its centres held fixed.</summary>
    private static double[] Surrogate(double[][] o, LowRankGradient sequence, Sample sample)
    {
        (float[] shift, double[] mean) = sequence.Centres;
        int width = sample.Q.Columns, valueWidth = sample.V.Columns;
        double[] output = new double[sample.Q.Rows * valueWidth];
        foreach (AttentionSegment s in sample.Segments)
        {
            for (int i = s.QueryStart; i < s.QueryStart + s.Queries; i++)
            {
                double sum = 0;
                for (int j = 0; j < s.Keys; j++)
                {
                    double score = 0, exponent = 0;
                    for (int l = 0; l < width; l++)
                    {
                        double key = o[1][(j * width) + l] - shift[l];
                        score += ((sample.Scale * o[0][(i * width) + l]) - mean[l]) * key;
                        exponent += mean[l] * key;
                    }

                    double weight = 0;
                    for (int k = sequence.Coefficients.Length - 1; k >= 0; k--)
                    {
                        weight = (weight * score) + sequence.Coefficients[k];
                    }

                    weight *= Math.Exp(exponent);
                    sum += weight;
                    for (int b = 0; b < valueWidth; b++)
                    {
                        output[(i * valueWidth) + b] += weight * o[2][(j * valueWidth) + b];
                    }
                }

                for (int b = 0; b < valueWidth; b++)
                {
                    output[(i * valueWidth) + b] /= sum;
                }
            }
        }

        return output;
    }

    private static float Largest(Matrix matrix) => matrix.Span().ToArray().Max(Math.Abs);

    private static double[] Values(Matrix matrix) =>
        [.. Enumerable.Range(0, matrix.Rows).SelectMany(i => matrix.Row(i).ToArray().Select(value => (double)value))];

    private static void AssertClose(double[] expected, Matrix actual, double tolerance, string what)
    {
        double size = expected.Max(Math.Abs);
        double[] values = Values(actual);
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.True(Math.Abs(expected[i] - values[i]) <= tolerance * size, $"{what}[{i}] is {values[i]}, expected {expected[i]}");
        }
    }

    /// <summary>A head over a few scales.</summary>
    private sealed class Sample : IDisposable
    {
        private readonly FloatBuffer _memory;

        public Sample(Random random, Kind kind, int smallest = 30)
        {
            int width = random.Next(1, 4), valueWidth = random.Next(1, 4);
            int[] counts = [random.Next(1, 4), random.Next(3, 9), random.Next(smallest, (5 * smallest))];
            var segments = new List<AttentionSegment>();
            foreach (int count in counts)
            {
                int start = segments.Sum(s => s.Queries);
                segments.Add(new AttentionSegment(start, count, start + count));
            }

            Segments = [.. segments];
            int tokens = counts.Sum();
            _memory = new FloatBuffer(tokens * ((4L * width) + (4L * valueWidth)));
            long offset = 0;
            Matrix Take(int columns)
            {
                Matrix matrix = _memory.Matrix(tokens, columns, offset);
                offset += (long)tokens * columns;
                matrix.Span().Clear();
                return matrix;
            }

            (Q, K, DQ, DK) = (Take(width), Take(width), Take(width), Take(width));
            (V, G, O, DV) = (Take(valueWidth), Take(valueWidth), Take(valueWidth), Take(valueWidth));
            foreach (Matrix matrix in (Matrix[])[Q, K, V, G])
            {
                foreach (ref float value in matrix.Span())
                {
                    value = (2 * random.NextSingle()) - 1;
                }
            }

            // Scores up to about 4 in all, and often far less.
            Scale = (float)(Math.Pow(10, (1.5 * random.NextDouble()) - 1) / width);
            for (int i = 0; i < tokens; i++)
            {
                Shape(kind, random, i, Q.Row(i), K.Row(i), V.Row(i), G.Row(i));
            }
        }

        public AttentionSegment[] Segments { get; }

        public float Scale { get; }

        public Matrix Q { get; }

        public Matrix K { get; }

        public Matrix V { get; }

        public Matrix G { get; }

        public Matrix O { get; }

        public Matrix DQ { get; }

        public Matrix DK { get; }

        public Matrix DV { get; }

        public ReferenceGradient<double> Judge() =>
            ReferenceGradient<double>.Compute(Values(Q), Values(K), Values(V), Values(G), Q.Columns, Scale, Segments);

        public void Dispose() => _memory.Dispose();

        private static void Shape(Kind kind, Random random, int i, Span<float> q, Span<float> k, Span<float> v, Span<float> g)
        {
            switch (kind)
            {
                case Kind.Corners:
                    Sign(q);
                    Sign(k);
                    Sign(v);
                    Sign(g);
                    break;
                case Kind.ValuesFollowTheError:
                    // The error of the polynomial changes sign with the score; values and gradients that do so too collect it.
                    q.Fill(random.Next(2) == 0 ? 1 : -1);
                    v.Fill(MathF.Cos(4 * k[0]) > 0 ? 1 : -1);
                    g.Fill(1);
                    break;
                case Kind.OneSteepRow:
                    MultiplyBy(g, i == 7 ? 1e6f : 1);
                    break;
                case Kind.FarMeans:
                    Shift(q, 3);
                    Shift(k, -20);
                    Shift(v, 100);
                    break;
                case Kind.OutlierKey:
                    MultiplyBy(k, i == 9 ? 3 : 0.3f);
                    break;
                case Kind.OutlierQuery:
                    MultiplyBy(q, i == 9 ? 3 : 0.3f);
                    break;
                case Kind.ConstantCoordinate:
                    k[0] = 0.5f;
                    MultiplyBy(q, i % 5 == 0 ? 2 : 1);
                    break;
                case Kind.EqualKeys:
                    k.Fill(0.25f);
                    break;
                case Kind.EqualValues:
                    v.Fill(-3);
                    break;
                case Kind.TinyGradient:
                    MultiplyBy(g, 1e-33f);
                    break;
                case Kind.HugeValues:
                    MultiplyBy(v, 1e15f);
                    MultiplyBy(g, 1e-10f);
                    break;
                case Kind.Anisotropic:
                    k[^1] *= 1e-4f;
                    q[^1] *= 1e3f;
                    break;
                case Kind.NoGradient:
                    g.Clear();
                    break;
            }
        }

        private static void Sign(Span<float> values)
        {
            foreach (ref float value in values)
            {
                value = value < 0 ? -1 : 1;
            }
        }

        private static void Shift(Span<float> values, float by)
        {
            foreach (ref float value in values)
            {
                value += by;
            }
        }

        private static void MultiplyBy(Span<float> values, float factor)
        {
            foreach (ref float value in values)
            {
                value *= factor;
            }
        }
    }
}
