using Subquartic.Attention;
using Subquartic.Attention.Relative;
using Subquartic.Generation;
using Subquartic.Layers;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Reports;

/// <summary>Rotated attention of the last scale of token maps 1, 2, 4, …, n.</summary>
/// <param name="Side">n.</param>
/// <param name="RotationSeconds">Rotating queries and keys.</param>
/// <param name="ExactSeconds">Exact attention of the rotated ones.</param>
/// <param name="LowRankSeconds">Low-rank attention of them.</param>
/// <param name="Path">How the latter computed.</param>
/// <param name="ErrorBound">Its certificate; values have range 2.</param>
/// <param name="Difference">Largest difference of the two.</param>
public sealed record RopeScalingPoint(
    int Side, double RotationSeconds, double ExactSeconds, double LowRankSeconds, AttentionPath Path, double ErrorBound, double Difference);

/// <summary>General relative attention of N tokens.</summary>
/// <param name="Tokens">N.</param>
/// <param name="DenseWork">Multiply-adds of all pairs.</param>
/// <param name="FourierWork">Multiply-adds of <see cref="FourierRelativeAttention"/>.</param>
/// <param name="DenseSeconds">Least time of the loops over all pairs; no fast exact kernel is claimed for this form.</param>
/// <param name="FourierSeconds">Least time.</param>
/// <param name="ErrorBound">The certificate.</param>
/// <param name="Difference">Largest error.</param>
public sealed record RelativeScalingPoint(
    int Tokens, double DenseWork, double FourierWork, double DenseSeconds, double FourierSeconds, double ErrorBound, double Difference);

/// <summary>General relative attention over the degree.</summary>
/// <param name="Degree">g.</param>
/// <param name="Terms">Toeplitz terms.</param>
/// <param name="Measured">Largest error of an output.</param>
/// <param name="Bound">Its certificate.</param>
/// <param name="GradientError">Largest error of an entry of a gradient, relative to the largest entry of that gradient.</param>
/// <param name="GradientShare">Largest error of an entry of a gradient over the certified bound of that gradient.</param>
public sealed record RelativeErrorRow(int Degree, double Terms, double Measured, double Bound, double GradientError, double GradientShare);

/// <summary>How many queries low-rank attention approximates as entries R = c sqrt(ln N) grow.</summary>
/// <param name="C">c.</param>
/// <param name="Entry">R.</param>
/// <param name="Plain">Share of rows, without rotation, keys around 0.</param>
/// <param name="Rotated">The same, rotated.</param>
/// <param name="PlainOffset">Without rotation, keys around a mean of R.</param>
/// <param name="RotatedOffset">The same, rotated.</param>
public sealed record RopeRefusalRow(double C, double Entry, double Plain, double Rotated, double PlainOffset, double RotatedOffset);

/// <summary>Rotary attention: that rotating first is the same, what it costs, and where it is refused.</summary>
/// <param name="Identity">Largest difference of rotating first and of the scores by distances, double precision.</param>
/// <param name="MapIdentity">The same on two-dimensional maps of several scales, rotated in float32.</param>
/// <param name="Scaling">Growing n.</param>
/// <param name="ExactExponent">Slope of exact time over n; 4 in theory.</param>
/// <param name="LowRankExponent">Of low-rank time; 2 in theory.</param>
/// <param name="Relative">Growing N.</param>
/// <param name="DenseExponent">Slope of dense multiply-adds over N.</param>
/// <param name="FourierExponent">Of those by transforms: 1 and a logarithm.</param>
/// <param name="DenseTimeExponent">Slope of the times.</param>
/// <param name="FourierTimeExponent">Slope of the times.</param>
/// <param name="Errors">Rising degree.</param>
/// <param name="RefusalTokens">N of the refusals.</param>
/// <param name="Refusals">Rising c.</param>
public sealed record RopeReport(
    double Identity, double MapIdentity, IReadOnlyList<RopeScalingPoint> Scaling, double ExactExponent, double LowRankExponent,
    IReadOnlyList<RelativeScalingPoint> Relative, double DenseExponent, double FourierExponent, double DenseTimeExponent, double FourierTimeExponent,
    IReadOnlyList<RelativeErrorRow> Errors, int RefusalTokens, IReadOnlyList<RopeRefusalRow> Refusals)
{
    /// <summary>Smallest n.</summary>
    public const int FirstSide = 16;

    private const int Width = 8, RefusalSide = 64;
    private const double HalfRange = 0.5, Tolerance = 1e-3;

    /// <summary>Measures. Results are compared before anything is timed.</summary>
    /// <param name="kernels">Kernels.</param>
    /// <param name="maxSide">Largest n, at least twice <see cref="FirstSide"/>; n doubles, N is 64 n at most.</param>
    /// <param name="progress">Told what is being measured.</param>
    /// <param name="cancellation">Stops between runs.</param>
    /// <returns>The report.</returns>
    /// <exception cref="ArithmeticException">A result contradicts its certificate.</exception>
    public static RopeReport Measure(KernelSet kernels, int maxSide, Action<string>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxSide, 2 * FirstSide);
        var scaling = new List<RopeScalingPoint>();
        for (int side = FirstSide; side <= maxSide; side *= 2)
        {
            progress?.Invoke($"n = {side}");
            scaling.Add(MeasureSide(kernels, side, cancellation));
        }

        var relative = new List<RelativeScalingPoint>();
        for (int tokens = 128; tokens <= 16 * maxSide; tokens *= 2)
        {
            progress?.Invoke($"{tokens} tokens, general form");
            relative.Add(MeasureRelative(tokens, cancellation));
        }

        progress?.Invoke("errors and refusals");
        return new RopeReport(
            MeasureIdentity(), MeasureMapIdentity(kernels), scaling,
            Timing.Slope(scaling, p => p.Side, p => p.ExactSeconds), Timing.Slope(scaling, p => p.Side, p => p.LowRankSeconds),
            relative, Timing.Slope(relative, p => p.Tokens, p => p.DenseWork), Timing.Slope(relative, p => p.Tokens, p => p.FourierWork),
            Timing.Slope(relative, p => p.Tokens, p => p.DenseSeconds), Timing.Slope(relative, p => p.Tokens, p => p.FourierSeconds),
            [.. MeasureErrors()], RefusalSide * RefusalSide, [.. MeasureRefusals(kernels)]);
    }

    /// <summary>The curves.</summary>
    /// <returns>An SVG document.</returns>
    public string Picture() => LineChart.Draw(
        "Rotary attention", "log2 n; log2 tokens; degree; c",
        new ChartPanel($"token maps: log2 seconds, exact, slope {ExactExponent:0.00} over log2 n", [.. Scaling.Select(p => (Math.Log2(p.Side), Math.Log2(p.ExactSeconds)))]),
        new ChartPanel($"token maps: log2 seconds, low-rank, slope {LowRankExponent:0.00} over log2 n", [.. Scaling.Select(p => (Math.Log2(p.Side), Math.Log2(p.LowRankSeconds)))]),
        new ChartPanel($"general form: log2 multiply-adds, all pairs, slope {DenseExponent:0.00} over log2 tokens", [.. Relative.Select(p => (Math.Log2(p.Tokens), Math.Log2(p.DenseWork)))]),
        new ChartPanel($"general form: log2 multiply-adds by transforms, slope {FourierExponent:0.00}", [.. Relative.Select(p => (Math.Log2(p.Tokens), Math.Log2(p.FourierWork)))]),
        new ChartPanel("general form: log10 of the certified bound over the degree", [.. Errors.Select(row => ((double)row.Degree, Math.Log10(row.Bound)))]),
        new ChartPanel("general form: log10 of the largest error measured", [.. Errors.Select(row => ((double)row.Degree, Math.Log10(row.Measured)))]),
        new ChartPanel("share of queries approximated, rotated, entries c sqrt(ln N)", [.. Refusals.Select(row => (row.C, row.Rotated))]));

    private static double[,] Random(Random random, int rows, int columns, double size)
    {
        var matrix = new double[rows, columns];
        for (int i = 0; i < rows; i++)
        {
            for (int j = 0; j < columns; j++)
            {
                matrix[i, j] = size * ((2 * random.NextDouble()) - 1);
            }
        }

        return matrix;
    }

    private static RelativeInput Example(int tokens, int width, double halfRange, int seed)
    {
        var random = new Random(seed);

        // |cos| + |sin| of a plane is at most sqrt(2), of its four entries' largest values together 2: the bound knows the latter.
        return RelativeInput.Rotary(
            Random(random, tokens, width, 1), Random(random, tokens, width, 1), Random(random, tokens, 2, 1), RotaryEmbedding.DefaultBase, halfRange / (2 * width));
    }

    private static double MeasureIdentity()
    {
        RelativeInput direct = Example(200, 8, 8, seed: 1);
        double[,] q = RelativeInput.Rotate(direct.Queries, RotaryEmbedding.DefaultBase), k = RelativeInput.Rotate(direct.Keys, RotaryEmbedding.DefaultBase);
        double[] ones = [.. Enumerable.Repeat(1.0, (2 * direct.Tokens) - 1)];
        RelativeInput first = direct with { Queries = q, Keys = k, Entries = [.. Enumerable.Range(0, 8).Select(l => new RelativeEntry(l, l, ones))] };
        return Difference(ReferenceRelativeAttention.Attend(first), ReferenceRelativeAttention.Attend(direct));
    }

    /// <summary>Scores of rotated rows against those by distances of rows and columns in units of the last map.</summary>
    private static double MeasureMapIdentity(KernelSet kernels)
    {
        ScaleSchedule scales = ScaleSchedule.Square(1, 2, 3, 5, 8);
        var rotary = new RotaryEmbedding(scales, Width, RotaryEmbedding.DefaultBase);
        var random = new Random(1);
        double[,] q = Random(random, scales.Tokens, Width, 1), k = Random(random, scales.Tokens, Width, 1);
        using var memory = new FloatBuffer(2L * scales.Tokens * Width);
        Matrix qs = memory.Matrix(scales.Tokens, Width), ks = memory.Matrix(scales.Tokens, Width, (long)scales.Tokens * Width);
        for (int i = 0; i < scales.Tokens * Width; i++)
        {
            qs.Span()[i] = (float)q[i / Width, i % Width];
            ks.Span()[i] = (float)k[i / Width, i % Width];
        }

        foreach (Matrix matrix in new[] { qs, ks })
        {
            rotary.Rotate(HeadTensor.Interleaved(matrix, 1, 1), 0, HeadTensor.Interleaved(matrix, 1, 1), kernels.Pool);
        }

        (double Row, double Column)[] places = [.. scales.Sizes.SelectMany(size => Enumerable.Range(0, size.Tokens).Select(
            t => (((t / size.Width) + 0.5) * scales.Last.Height / size.Height, ((t % size.Width) + 0.5) * scales.Last.Width / size.Width)))];
        double largest = 0;
        const int planes = Width / 2, half = planes / 2;
        for (int i = 0; i < scales.Tokens; i++)
        {
            for (int j = 0; j < scales.Tokens; j++)
            {
                double rotated = 0, direct = 0;
                for (int l = 0; l < Width; l++)
                {
                    rotated += (double)qs.Row(i)[l] * ks.Row(j)[l];
                }

                for (int p = 0; p < planes; p++)
                {
                    double distance = p < half ? places[j].Row - places[i].Row : places[j].Column - places[i].Column;
                    (double sine, double cosine) = Math.SinCos(distance * Math.Pow(RotaryEmbedding.DefaultBase, -(double)(p % half) / half));
                    (double a, double b, double c, double d) = (q[i, p], q[i, p + planes], k[j, p], k[j, p + planes]);
                    direct += (a * ((c * cosine) - (d * sine))) + (b * ((c * sine) + (d * cosine)));
                }

                largest = Math.Max(largest, Math.Abs(rotated - direct));
            }
        }

        return largest;
    }

    private static RopeScalingPoint MeasureSide(KernelSet kernels, int side, CancellationToken cancellation)
    {
        ScaleSchedule scales = ScaleSchedule.Square([.. Enumerable.Range(0, (int)Math.Log2(side) + 1).Select(k => 1 << k)]);
        int keys = scales.Tokens, queries = scales.Last.Tokens;
        var rotary = new RotaryEmbedding(scales, Width, RotaryEmbedding.DefaultBase);
        using var memory = new FloatBuffer(((4L * keys) + (2L * queries)) * Width);
        Matrix q = memory.Matrix(keys, Width), k = memory.Matrix(keys, Width, (long)keys * Width), v = memory.Matrix(keys, Width, 2L * keys * Width);
        Matrix rotated = memory.Matrix(keys, Width, 3L * keys * Width);
        Matrix exactly = memory.Matrix(queries, Width, 4L * keys * Width), quickly = memory.Matrix(queries, Width, ((4L * keys) + queries) * Width);
        var random = new Random(side);
        foreach (ref float value in memory.Span()[..(3 * keys * Width)])
        {
            value = (2 * random.NextSingle()) - 1;
        }

        HeadTensor all = HeadTensor.Interleaved(rotated, 1, 1);
        double rotation = 2 * Timing.LeastSeconds(() => rotary.Rotate(HeadTensor.Interleaved(q, 1, 1), 0, all, kernels.Pool), cancellation);
        rotary.Rotate(HeadTensor.Interleaved(k, 1, 1), 0, HeadTensor.Interleaved(k, 1, 1), kernels.Pool);

        // Rotation keeps lengths: |q.k| <= Width, and scores stay within the half-range.
        var input = new AttentionInput(
            all.SliceRows(keys - queries, queries), HeadTensor.Interleaved(k, 1, 1), HeadTensor.Interleaved(v, 1, 1), (float)(HalfRange / Width));
        var exact = new ExactAttention(kernels);
        using var lowRank = new LowRankAttention(kernels, Tolerance);
        exact.Attend(input, HeadTensor.Interleaved(exactly, 1, 1));
        Certificate certificate = lowRank.Attend(input, HeadTensor.Interleaved(quickly, 1, 1));
        double difference = ScalingReport.LargestDifference(exactly.Span(), quickly.Span());
        if (!(difference <= certificate.ErrorBound + ExactAttention.RoundingBound(input)))
        {
            throw new ArithmeticException($"n = {side}: low-rank attention is off by {difference}, its certificate says {certificate.ErrorBound}");
        }

        return new RopeScalingPoint(
            side, rotation, Timing.LeastSeconds(() => exact.Attend(input, HeadTensor.Interleaved(exactly, 1, 1)), cancellation),
            Timing.LeastSeconds(() => lowRank.Attend(input, HeadTensor.Interleaved(quickly, 1, 1)), cancellation), certificate.Path, certificate.ErrorBound, difference);
    }

    private static RelativeScalingPoint MeasureRelative(int tokens, CancellationToken cancellation)
    {
        RelativeInput input = Example(tokens, 2, HalfRange, seed: tokens);
        var fast = new FourierRelativeAttention(Tolerance) { Degree = 3 };
        double[,] expected = ReferenceRelativeAttention.Attend(input), actual = fast.Attend(input, out Certificate certificate);
        double difference = Difference(expected, actual);
        if (!(difference <= certificate.ErrorBound + 1e-12))
        {
            throw new ArithmeticException($"{tokens} tokens: off by {difference}, the certificate says {certificate.ErrorBound}");
        }

        return new RelativeScalingPoint(
            tokens, FourierRelativeAttention.DenseMultiplyAdds(input), fast.MultiplyAdds,
            Timing.LeastSeconds(() => ReferenceRelativeAttention.Attend(input), cancellation),
            Timing.LeastSeconds(() => fast.Attend(input, out _), cancellation), certificate.ErrorBound, difference);
    }

    private static IEnumerable<RelativeErrorRow> MeasureErrors()
    {
        RelativeInput input = Example(48, 2, 1, seed: 1);
        var random = new Random(2);
        input = input with { Bias = [.. Enumerable.Range(0, 95).Select(_ => (2 * random.NextDouble()) - 1)] };
        double[,] upstream = Random(random, 48, 2, 1), expected = ReferenceRelativeAttention.Attend(input);
        RelativeGradient exact = ReferenceRelativeAttention.Gradient(input, upstream);
        for (int degree = 1; degree <= 8; degree++)
        {
            var fast = new FourierRelativeAttention(Tolerance) { Degree = degree };
            double[,] output = fast.Attend(input, out Certificate certificate);
            if (certificate.Path == AttentionPath.Exact)
            {
                continue;
            }

            RelativeGradient gradient = fast.Gradient(input, upstream, out RelativeGradientCertificate bounds);
            double worst = 0, share = 0;
            Compare(gradient.Queries.Cast<double>(), exact.Queries.Cast<double>(), bounds.Queries);
            Compare(gradient.Keys.Cast<double>(), exact.Keys.Cast<double>(), bounds.Keys);
            Compare(gradient.Values.Cast<double>(), exact.Values.Cast<double>(), bounds.Values);
            Compare(gradient.Bias, exact.Bias, bounds.Bias);
            foreach ((double[] actual, double[] right) in gradient.Entries.Zip(exact.Entries))
            {
                Compare(actual, right, bounds.Entries);
            }

            yield return new RelativeErrorRow(
                degree, Criteria.MonomialBasis.CountOf(input.Entries.Count, degree), Difference(output, expected), certificate.ErrorBound, worst, share);

            void Compare(IEnumerable<double> actual, IEnumerable<double> right, double bound)
            {
                double error = actual.Zip(right, (x, y) => Math.Abs(x - y)).Max();
                worst = Math.Max(worst, error / right.Max(Math.Abs));
                share = Math.Max(share, error / bound);
            }
        }
    }

    private static IEnumerable<RopeRefusalRow> MeasureRefusals(KernelSet kernels)
    {
        ScaleSchedule scales = ScaleSchedule.Square(RefusalSide);
        var rotary = new RotaryEmbedding(scales, Width, RotaryEmbedding.DefaultBase);
        int tokens = scales.Tokens;
        using var memory = new FloatBuffer(4L * tokens * Width);
        Matrix q = memory.Matrix(tokens, Width), k = memory.Matrix(tokens, Width, (long)tokens * Width);
        Matrix v = memory.Matrix(tokens, Width, 2L * tokens * Width), output = memory.Matrix(tokens, Width, 3L * tokens * Width);
        using var lowRank = new LowRankAttention(kernels, 1e-2);
        for (int step = 1; step <= 8; step++)
        {
            double c = step * 0.1, entry = c * Math.Sqrt(Math.Log(tokens));
            yield return new RopeRefusalRow(c, entry, Share(false, 0), Share(true, 0), Share(false, 1), Share(true, 1));

            double Share(bool rotated, int mean)
            {
                var random = new Random(step);
                foreach (ref float value in memory.Span()[..(3 * tokens * Width)])
                {
                    value = (float)(entry * ((2 * random.NextDouble()) - 1));
                }

                foreach (ref float value in k.Span())
                {
                    value += (float)(mean * entry);
                }

                foreach (Matrix matrix in rotated ? new[] { q, k } : [])
                {
                    rotary.Rotate(HeadTensor.Interleaved(matrix, 1, 1), 0, HeadTensor.Interleaved(matrix, 1, 1), kernels.Pool);
                }

                Certificate certificate = lowRank.Attend(
                    new AttentionInput(HeadTensor.Interleaved(q, 1, 1), HeadTensor.Interleaved(k, 1, 1), HeadTensor.Interleaved(v, 1, 1), 1f / Width),
                    HeadTensor.Interleaved(output, 1, 1));
                return 1 - ((double)certificate.ExactRows / certificate.Rows);
            }
        }
    }

    private static double Difference(double[,] a, double[,] b)
    {
        double largest = 0;
        for (int i = 0; i < a.GetLength(0); i++)
        {
            for (int j = 0; j < a.GetLength(1); j++)
            {
                largest = Math.Max(largest, Math.Abs(a[i, j] - b[i, j]));
            }
        }

        return largest;
    }
}
