using Subquartic.Attention;
using Subquartic.Attention.HigherOrder;
using Subquartic.Criteria;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Reports;

/// <summary>Tensor attention of N queries and k - 1 sets of N keys.</summary>
/// <param name="Order">k.</param>
/// <param name="Tokens">N.</param>
/// <param name="ExactWork">Multiply-adds of <see cref="ExactTensorAttention"/>.</param>
/// <param name="FastWork">Multiply-adds of <see cref="LowRankTensorAttention"/> at the degree it chose.</param>
/// <param name="ExactSeconds">Least time.</param>
/// <param name="FastSeconds">Least time, measuring and choosing included.</param>
/// <param name="ErrorBound">The certificate; products of values have range 2.</param>
/// <param name="Difference">Largest difference of the two results.</param>
public sealed record TensorScalingPoint(
    int Order, int Tokens, double ExactWork, double FastWork, double ExactSeconds, double FastSeconds, double ErrorBound, double Difference)
{
    /// <summary>How many times faster the fast one is.</summary>
    public double Speedup => ExactSeconds / FastSeconds;
}

/// <summary>Fitted slopes over log N.</summary>
/// <param name="Order">k.</param>
/// <param name="ExactWork">k in theory.</param>
/// <param name="FastWork">1 in theory.</param>
/// <param name="ExactTime">Of seconds, over the three largest sizes.</param>
/// <param name="FastTime">Of seconds, over the three largest sizes.</param>
public sealed record TensorExponents(int Order, double ExactWork, double FastWork, double ExactTime, double FastTime);

/// <summary>Error over the degree, order 3.</summary>
/// <param name="HalfRange">B: largest score.</param>
/// <param name="Degree">g.</param>
/// <param name="Measured">Largest error of an output against double precision.</param>
/// <param name="Bound">Its certificate.</param>
/// <param name="GradientMeasured">Largest error of an entry of dQ, dK, dV over its bound.</param>
public sealed record TensorErrorRow(double HalfRange, int Degree, double Measured, double Bound, double GradientMeasured);

/// <summary>Degree that entries demand.</summary>
/// <param name="Entry">R: largest entry.</param>
/// <param name="Degrees">g for orders 2, 3 and 4; null where no polynomial serves.</param>
public sealed record TensorDegreeRow(double Entry, IReadOnlyList<int?> Degrees);

/// <summary>Rank of the hypercube family, closed form beside what the matrix shows.</summary>
/// <param name="Order">k.</param>
/// <param name="Tokens">N.</param>
/// <param name="C">R over (log2 N)^(1/k).</param>
/// <param name="Measured">Singular values at least 1/N of the largest.</param>
/// <param name="Predicted">The closed form.</param>
public sealed record TensorRankRow(int Order, int Tokens, double C, int Measured, double Predicted);

/// <summary>Tensor attention: growth, errors, thresholds, and what it can do that ordinary attention cannot.</summary>
/// <param name="Width">d and d_v of the scaling runs.</param>
/// <param name="HalfRange">Their largest score.</param>
/// <param name="Tolerance">Their tolerance, as a fraction of the range.</param>
/// <param name="Kernels">Kernel set.</param>
/// <param name="Threads">Threads.</param>
/// <param name="Points">Growing N, orders 3 and 4.</param>
/// <param name="Exponents">The fits.</param>
/// <param name="Errors">Rising degree.</param>
/// <param name="Thresholds">Largest entries with at most N features, by order.</param>
/// <param name="Degrees">Rising entries.</param>
/// <param name="Ranks">The hypercube family.</param>
/// <param name="Tasks">Match-3 and composition.</param>
/// <param name="TradeOff">Match-3 with entries made smaller.</param>
public sealed partial record TensorReport(
    int Width, double HalfRange, double Tolerance, string Kernels, int Threads, IReadOnlyList<TensorScalingPoint> Points,
    IReadOnlyList<TensorExponents> Exponents, IReadOnlyList<TensorErrorRow> Errors, IReadOnlyList<EntryThreshold> Thresholds,
    IReadOnlyList<TensorDegreeRow> Degrees, IReadOnlyList<TensorRankRow> Ranks, IReadOnlyList<TensorTask> Tasks, IReadOnlyList<TensorTradeOff> TradeOff)
{
    /// <summary>Smallest N of order 3; order 4 begins at half of it and ends at a quarter of the largest.</summary>
    public const int FirstTokens = 32;

    private const int DefaultWidth = 4, ThresholdTokens = 4096;
    private static readonly int[] s_orders = [2, 3, 4];
    private static readonly double[] s_sizes = [0.4, 0.6, 0.8, 1.0];

    private const double DefaultRange = 0.5, DefaultTolerance = 1e-3, ThresholdAccuracy = 1e-3;

    /// <summary>Measures. Results are compared before anything is timed.</summary>
    /// <param name="kernels">Kernels of both strategies.</param>
    /// <param name="maxTokens">Largest N of order 3, at least twice <see cref="FirstTokens"/>; N doubles.</param>
    /// <param name="progress">Told what is being measured.</param>
    /// <param name="cancellation">Stops between runs.</param>
    /// <returns>The report.</returns>
    /// <exception cref="ArithmeticException">A result contradicts its certificate.</exception>
    public static TensorReport Measure(KernelSet kernels, int maxTokens, Action<string>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        ArgumentOutOfRangeException.ThrowIfLessThan(maxTokens, 2 * FirstTokens);
        var points = new List<TensorScalingPoint>();
        foreach ((int order, int from, int to) in new[] { (3, FirstTokens, maxTokens), (4, FirstTokens / 2, Math.Max(FirstTokens, maxTokens / 4)) })
        {
            for (int tokens = from; tokens <= to; tokens *= 2)
            {
                progress?.Invoke($"order {order}, {tokens} tokens");
                points.Add(MeasureSize(kernels, order, tokens, cancellation));
            }
        }

        TensorExponents[] exponents = [.. points.GroupBy(p => p.Order).Select(group => new TensorExponents(
            group.Key, Slope(group, p => p.ExactWork), Slope(group, p => p.FastWork), Late(group, p => p.ExactSeconds), Late(group, p => p.FastSeconds)))];
        progress?.Invoke("errors and thresholds");
        TensorErrorRow[] errors = [.. MeasureErrors(kernels, 1), .. MeasureErrors(kernels, 2)];
        EntryThreshold[] thresholds = [.. s_orders.Select(order => EntryThreshold.Create(order, ThresholdTokens, DefaultWidth, ThresholdAccuracy))];
        TensorDegreeRow[] degrees = [.. Enumerable.Range(1, 12).Select(i => new TensorDegreeRow(
            i / 4.0, [.. s_orders.Select(order => EntryThreshold.DegreeFor(Math.Pow(i / 4.0, order), ThresholdAccuracy))]))];
        TensorRankRow[] ranks = [.. from size in new (int Order, int Bits)[] { (3, 5), (4, 4) }
                                    from c in s_sizes
                                    select Rank(size.Order, size.Bits, c)];
        progress?.Invoke("Match-3 and composition");
        return new TensorReport(
            DefaultWidth, DefaultRange, DefaultTolerance, kernels.Name, kernels.Pool.Threads, points, exponents, errors, thresholds, degrees, ranks,
            MeasureTasks(kernels, cancellation), MeasureTradeOff(kernels));

        static double Slope(IGrouping<int, TensorScalingPoint> group, Func<TensorScalingPoint, double> y) =>
            Timing.Slope([.. group], p => p.Tokens, y);

        static double Late(IGrouping<int, TensorScalingPoint> group, Func<TensorScalingPoint, double> y) =>
            Timing.LateSlope([.. group], p => p.Tokens, y);
    }

    /// <summary>From which size on the fast algorithm is the faster one at every size measured.</summary>
    /// <param name="order">k.</param>
    /// <returns>N, or null where it is not at the largest.</returns>
    public int? FasterFrom(int order)
    {
        TensorScalingPoint[] late = [.. Points.Where(p => p.Order == order).Reverse().TakeWhile(p => p.Speedup > 1)];
        return late.Length == 0 ? null : late[^1].Tokens;
    }

    /// <summary>The curves.</summary>
    /// <returns>An SVG document.</returns>
    public string Picture() => LineChart.Draw(
        "Tensor attention", "log2 tokens; entry R; degree",
        [
            .. Exponents.SelectMany(e => new[]
            {
                Panel($"order {e.Order}: log2 seconds, exact, slope {e.ExactTime:0.00} over log2 tokens", e.Order, p => p.ExactSeconds),
                Panel($"order {e.Order}: log2 seconds, fast, slope {e.FastTime:0.00} over log2 tokens", e.Order, p => p.FastSeconds),
            }),
            .. Enumerable.Range(0, 3).Select(k => new ChartPanel(
                $"degree that entries up to R demand, order {k + 2}", [.. Degrees.Select(row => (row.Entry, row.Degrees[k] ?? double.NaN))])),
            .. Errors.GroupBy(row => row.HalfRange).SelectMany(group => new[]
            {
                new ChartPanel($"log10 of the certified bound over the degree, scores up to {group.Key}", [.. group.Select(row => ((double)row.Degree, Math.Log10(row.Bound)))]),
                new ChartPanel("log10 of the largest error measured", [.. group.Select(row => ((double)row.Degree, Math.Log10(row.Measured)))]),
            }),
        ]);

    private ChartPanel Panel(string label, int order, Func<TensorScalingPoint, double> seconds) =>
        new(label, [.. Points.Where(p => p.Order == order).Select(p => (Math.Log2(p.Tokens), Math.Log2(seconds(p))))]);

    private static TensorRankRow Rank(int order, int bits, double c)
    {
        double tokens = Math.Pow(2, bits);
        return new TensorRankRow(
            order, 1 << bits, c, HypercubeFamily.MeasuredSpectrum(bits, c, order).Count(value => value >= 1 / tokens),
            HypercubeFamily.Rank(bits, c, 1 / tokens, order));
    }

    private static TensorScalingPoint MeasureSize(KernelSet kernels, int order, int tokens, CancellationToken cancellation)
    {
        using var sample = new TensorSample(order, tokens, tokens, DefaultWidth, DefaultWidth, DefaultRange, seed: tokens);
        var exact = new ExactTensorAttention(kernels);
        using var fast = new LowRankTensorAttention(kernels, DefaultTolerance);
        using var memory = new FloatBuffer(2L * tokens * DefaultWidth);
        Matrix exactly = memory.Matrix(tokens, DefaultWidth), quickly = memory.Matrix(tokens, DefaultWidth, (long)tokens * DefaultWidth);
        TensorInput input = sample.Input;
        double rounding = exact.Attend(input, exactly).ErrorBound;
        Certificate certificate = fast.Attend(input, quickly);
        double difference = ScalingReport.LargestDifference(exactly.Span(), quickly.Span());
        if (!(difference <= certificate.ErrorBound + rounding))
        {
            throw new ArithmeticException($"order {order}, {tokens} tokens: off by {difference}, the certificates say {certificate.ErrorBound} and {rounding}");
        }

        if (certificate.Path == AttentionPath.Exact)
        {
            throw new ArithmeticException($"order {order}, {tokens} tokens: computed exactly, {certificate.Reason}");
        }

        return new TensorScalingPoint(
            order, tokens, AttentionCost.Exact(tokens, input.Tuples, DefaultWidth, DefaultWidth), fast.MultiplyAdds,
            Timing.LeastSeconds(() => exact.Attend(input, exactly), cancellation), Timing.LeastSeconds(() => fast.Attend(input, quickly), cancellation),
            certificate.ErrorBound, difference);
    }

    private static IEnumerable<TensorErrorRow> MeasureErrors(KernelSet kernels, double halfRange)
    {
        const int tokens = 20, width = 2;
        using var sample = new TensorSample(3, tokens, tokens, width, width, halfRange, seed: 1, corners: true);
        TensorProblem problem = ReferenceTensorAttention.Widen(sample.Input);
        double[,] expected = ReferenceTensorAttention.Attend(problem), upstream = ReferenceTensorAttention.Widen(sample.Upstream);
        TensorProblem gradient = ReferenceTensorAttention.Gradient(problem, upstream);
        using var memory = new FloatBuffer((long)tokens * width);
        Matrix output = memory.Matrix(tokens, width);
        for (int degree = 1; degree <= 12; degree++)
        {
            using var fast = new LowRankTensorAttention(kernels, DefaultTolerance) { Degree = degree };
            Certificate certificate = fast.Attend(sample.Input, output);
            if (certificate.Path == AttentionPath.Exact)
            {
                continue; // the degree promises nothing yet
            }

            sample.ClearGradient();
            TensorGradientCertificate bounds = fast.Backward(sample.Input, sample.Upstream, sample.Gradient);
            double ratio = Difference(sample.Gradient.Queries, gradient.Queries, sample.Input.Scale) / bounds.Queries;
            for (int s = 0; s < 2; s++)
            {
                ratio = Math.Max(ratio, Difference(sample.Gradient.Keys[s], gradient.Keys[s], 1) / bounds.Keys[s]);
                ratio = Math.Max(ratio, Difference(sample.Gradient.Values[s], gradient.Values[s], 1) / bounds.Values[s]);
            }

            yield return new TensorErrorRow(halfRange, degree, Difference(output, expected, 1), certificate.ErrorBound, ratio);
        }
    }

    /// <summary>The gradient of the judge is with respect to scaled queries.</summary>
    private static double Difference(Matrix actual, double[,] expected, double scale)
    {
        double largest = 0;
        for (int i = 0; i < actual.Rows; i++)
        {
            for (int j = 0; j < actual.Columns; j++)
            {
                largest = Math.Max(largest, Math.Abs(actual.Row(i)[j] - (scale * expected[i, j])));
            }
        }

        return largest;
    }
}
