using System.Diagnostics;
using Subquartic.Attention;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Reports;

/// <summary>The attention of the last scale at one side n: n^2 queries over the keys of all scales 1, 2, 4, …, n.</summary>
/// <param name="Side">n.</param>
/// <param name="Queries">n^2.</param>
/// <param name="Keys">L_K = (4 n^2 - 1)/3.</param>
/// <param name="ExactSeconds">Least time of <see cref="ExactAttention"/>.</param>
/// <param name="LowRankSeconds">Least time of <see cref="LowRankAttention"/>, its choice of degree included.</param>
/// <param name="Path">How the latter computed.</param>
/// <param name="ErrorBound">Its certificate, in units of V, whose columns have range 2.</param>
/// <param name="Difference">Largest difference of the two results.</param>
public sealed record ScalingPoint(
    int Side, int Queries, int Keys, double ExactSeconds, double LowRankSeconds, AttentionPath Path, double ErrorBound, double Difference)
{
    /// <summary>How many times faster low-rank attention is.</summary>
    public double Speedup => ExactSeconds / LowRankSeconds;
}

/// <summary>Fitted slopes of log time over log n.</summary>
/// <param name="Exact">Of exact attention; 4 in theory.</param>
/// <param name="LowRank">Of low-rank attention; 2 in theory, at fixed width and score range.</param>
public sealed record ScalingExponents(double Exact, double LowRank);

/// <summary>Measured growth of attention's time with the side of the last token map.</summary>
/// <param name="Width">d, of queries, keys and values.</param>
/// <param name="HalfRange">Largest absolute score; it is reached.</param>
/// <param name="Tolerance">Largest error allowed, as a fraction of the range of V.</param>
/// <param name="Kernels">Kernel set of both.</param>
/// <param name="Threads">Threads of both.</param>
/// <param name="Points">The sides, each twice the one before.</param>
/// <param name="Exponent">The fits over all of them.</param>
public sealed record ScalingReport(
    int Width, double HalfRange, double Tolerance, string Kernels, int Threads, IReadOnlyList<ScalingPoint> Points, ScalingExponents Exponent)
{
    /// <summary>Smallest side measured.</summary>
    public const int FirstSide = 16;

    /// <summary>Measures. Results are compared before anything is timed.</summary>
    /// <param name="kernels">Kernels of both strategies.</param>
    /// <param name="maxSide">Largest n; sides run from <see cref="FirstSide"/>, doubling.</param>
    /// <param name="width">d.</param>
    /// <param name="halfRange">Largest absolute score.</param>
    /// <param name="tolerance">Largest error allowed, as a fraction of the range of V.</param>
    /// <param name="progress">Told each side.</param>
    /// <param name="cancellation">Stops between runs.</param>
    /// <returns>The report.</returns>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="maxSide"/> is below twice <see cref="FirstSide"/>.</exception>
    /// <exception cref="ArithmeticException">A result contradicts its certificate.</exception>
    public static ScalingReport Measure(
        KernelSet kernels, int maxSide, int width, double halfRange, double tolerance, Action<string>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxSide, 2 * FirstSide);
        var exact = new ExactAttention(kernels);
        using var lowRank = new LowRankAttention(kernels, tolerance);
        var points = new List<ScalingPoint>();
        for (int side = FirstSide; side <= maxSide; side *= 2)
        {
            progress?.Invoke($"n = {side}");
            points.Add(MeasureSide(exact, lowRank, side, width, halfRange, cancellation));
        }

        return new ScalingReport(
            width, halfRange, tolerance, kernels.Name, kernels.Pool.Threads, points,
            new ScalingExponents(Timing.Slope(points, point => point.Side, point => point.ExactSeconds), Timing.Slope(points, point => point.Side, point => point.LowRankSeconds)));
    }

    /// <summary>Both curves, in powers of two.</summary>
    /// <returns>An SVG document.</returns>
    public string Picture() => LineChart.Draw(
        $"Attention of the last scale, d = {Width}, |score| up to {HalfRange}, tolerance {Tolerance}", "log2 n",
        new ChartPanel($"log2 seconds, exact: slope {Exponent.Exact:0.00}", [.. Points.Select(p => (Math.Log2(p.Side), Math.Log2(p.ExactSeconds)))]),
        new ChartPanel($"log2 seconds, low-rank: slope {Exponent.LowRank:0.00}", [.. Points.Select(p => (Math.Log2(p.Side), Math.Log2(p.LowRankSeconds)))]),
        new ChartPanel("speed-up, times", [.. Points.Select(p => (Math.Log2(p.Side), p.Speedup))]));

    private static ScalingPoint MeasureSide(
        ExactAttention exact, LowRankAttention lowRank, int side, int width, double halfRange, CancellationToken cancellation)
    {
        int queries = side * side;
        int keys = ((4 * queries) - 1) / 3;
        using var memory = new FloatBuffer((3L * queries + 2L * keys) * width);
        Matrix q = memory.Matrix(queries, width);
        Matrix k = memory.Matrix(keys, width, (long)queries * width);
        Matrix v = memory.Matrix(keys, width, (long)(queries + keys) * width);
        Matrix exactly = memory.Matrix(queries, width, (queries + 2L * keys) * width);
        Matrix quickly = memory.Matrix(queries, width, (2L * queries + 2L * keys) * width);
        var random = new Random(side);
        foreach (Matrix matrix in new[] { q, k, v })
        {
            foreach (ref float value in matrix.Span())
            {
                value = (2 * random.NextSingle()) - 1;
            }

            // Two opposite corners of the box, so that the largest score and the ranges are what the report says.
            matrix.Row(0).Fill(1);
            matrix.Row(1).Fill(-1);
        }

        var input = new AttentionInput(
            HeadTensor.Interleaved(q, 1, 1), HeadTensor.Interleaved(k, 1, 1), HeadTensor.Interleaved(v, 1, 1), (float)(halfRange / width));
        exact.Attend(input, HeadTensor.Interleaved(exactly, 1, 1));
        Certificate certificate = lowRank.Attend(input, HeadTensor.Interleaved(quickly, 1, 1));
        double difference = LargestDifference(exactly.Span(), quickly.Span());
        if (!(difference <= certificate.ErrorBound + ExactAttention.RoundingBound(input)))
        {
            throw new ArithmeticException($"n = {side}: low-rank attention is off by {difference}, its certificate says {certificate.ErrorBound}");
        }

        double lowRankSeconds = Timing.LeastSeconds(() => lowRank.Attend(input, HeadTensor.Interleaved(quickly, 1, 1)), cancellation);
        double exactSeconds = Timing.LeastSeconds(() => exact.Attend(input, HeadTensor.Interleaved(exactly, 1, 1)), cancellation);
        return new ScalingPoint(side, queries, keys, exactSeconds, lowRankSeconds, certificate.Path, certificate.ErrorBound, difference);
    }

    internal static double LargestDifference(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        float largest = 0;
        for (int i = 0; i < a.Length; i++)
        {
            largest = Math.Max(largest, Math.Abs(a[i] - b[i]));
        }

        return largest;
    }
}
