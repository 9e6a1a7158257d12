using Subquartic.Attention;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;
using Subquartic.Training;

namespace Subquartic.Reports;

/// <summary>Output and gradient of one head over the scales 1, 2, 4, …, n, both ways.</summary>
/// <param name="Side">n.</param>
/// <param name="Tokens">L = (4 n^2 - 1)/3.</param>
/// <param name="ExactSeconds">Least time of the exact kernels.</param>
/// <param name="LowRankSeconds">Least time by polynomials, all measuring included; taken whether they are cheaper or not.</param>
/// <param name="Degree">Their degree.</param>
/// <param name="Difference">Largest difference of the gradients of Q, relative to their largest entry.</param>
public sealed record LoraTime(int Side, int Tokens, double ExactSeconds, double LowRankSeconds, int Degree, double Difference)
{
    /// <summary>How many times faster polynomials are.</summary>
    public double Speedup => ExactSeconds / LowRankSeconds;
}

/// <summary>Largest measured error of the gradients of one degree, and its bounds.</summary>
/// <param name="Degree">g.</param>
/// <param name="Features">r.</param>
/// <param name="Queries">Error of dQ.</param>
/// <param name="QueryBound">Its bound.</param>
/// <param name="Keys">Error of dK.</param>
/// <param name="KeyBound">Its bound.</param>
/// <param name="Values">Error of dV.</param>
/// <param name="ValueBound">Its bound.</param>
public sealed record LoraError(int Degree, int Features, double Queries, double QueryBound, double Keys, double KeyBound, double Values, double ValueBound);

/// <summary>What one size of the change asks for.</summary>
/// <param name="Change">Largest entry of (alpha/r) B A.</param>
/// <param name="Product">Largest entry of (alpha/r) X B A.</param>
/// <param name="Gamma">Largest entry of X W* + (alpha/r) X B A.</param>
/// <param name="HalfRange">Bound on the scores after centring.</param>
/// <param name="Degree">Least degree within the tolerance, null when none up to 12 is.</param>
/// <param name="Features">Its features.</param>
/// <param name="Cost">Its multiply-adds, as a fraction of those of exact attention; above 1 the gradient is computed exactly.</param>
public sealed record LoraPhase(double Change, double Product, double Gamma, double HalfRange, int? Degree, double? Features, double? Cost);

/// <summary>A training run of the small problem.</summary>
/// <param name="Gradient">How attention and its gradient were computed.</param>
/// <param name="Adapted">Which projections were adapted.</param>
/// <param name="Losses">Loss of every step.</param>
/// <param name="ExactHeads">Steps that were computed exactly although polynomials were asked for.</param>
/// <param name="Gamma">Largest entry of X W* + (alpha/r) X B A at the end.</param>
public sealed record LoraRun(string Gradient, string Adapted, IReadOnlyList<double> Losses, long ExactHeads, double Gamma);

/// <summary>Fast gradients of LoRA: how their time grows, how large changes may be, how far they are off, and whether training with them ends alike (arXiv 2406.03136).</summary>
/// <param name="Width">d, of the head.</param>
/// <param name="Entry">Largest entry of X W*_Q and X W*_K.</param>
/// <param name="Tolerance">Tolerance of the gradients, as in <see cref="LowRankTraining"/>.</param>
/// <param name="Kernels">Kernel set.</param>
/// <param name="Times">Rising n; one thread.</param>
/// <param name="ExactExponent">Exponent of exact time over tokens, fitted to the three largest sizes; 2 in theory.</param>
/// <param name="LowRankExponent">That of polynomials; 1 in theory.</param>
/// <param name="Crossing">Tokens at which both take as long, by interpolation; null when they do not cross.</param>
/// <param name="PhaseTokens">Tokens of <paramref name="Phases"/>.</param>
/// <param name="Phases">Growing changes.</param>
/// <param name="EqualChanges">Two changes of equal size, one where the tokens are and one where they are not.</param>
/// <param name="ErrorTokens">Tokens of <paramref name="Errors"/>.</param>
/// <param name="Errors">Rising degree.</param>
/// <param name="TrainingTokens">Tokens of <paramref name="Runs"/>.</param>
/// <param name="Runs">Exact, variant A, variant B, for partial and full adaptation.</param>
public sealed record LoraReport(
    int Width, double Entry, double Tolerance, string Kernels, IReadOnlyList<LoraTime> Times, double ExactExponent, double LowRankExponent, double? Crossing,
    int PhaseTokens, IReadOnlyList<LoraPhase> Phases, IReadOnlyList<LoraPhase> EqualChanges, int ErrorTokens, IReadOnlyList<LoraError> Errors,
    int TrainingTokens, IReadOnlyList<LoraRun> Runs)
{
    /// <summary>Smallest side measured.</summary>
    public const int FirstSide = 8;

    private const int ErrorSide = 8, PhaseSide = 64, TrainingSide = 32, TrainingSteps = 150, LargestDegree = 8;

    /// <summary>Measures. The error of every gradient that is timed is compared with the exact one first.</summary>
    /// <param name="kernels">Kernels of both; one thread is used, as there is one head.</param>
    /// <param name="maxSide">Largest n; sides run from <see cref="FirstSide"/>, doubling.</param>
    /// <param name="width">d.</param>
    /// <param name="tolerance">Tolerance of the gradients.</param>
    /// <param name="progress">Told each part.</param>
    /// <param name="cancellation">Stops between runs.</param>
    /// <returns>The report.</returns>
    /// <exception cref="ArithmeticException">A gradient contradicts its certificate.</exception>
    public static LoraReport Measure(
        KernelSet kernels, int maxSide, int width, double tolerance, Action<string>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        const double entry = 0.5;
        var times = new List<LoraTime>();
        for (int side = FirstSide; side <= maxSide; side *= 2)
        {
            progress?.Invoke($"time, n = {side}");
            times.Add(Time(kernels, side, width, entry, tolerance, cancellation));
        }

        progress?.Invoke("phases");
        LoraPhase[] phases = [.. Enumerable.Range(0, 10).Select(k => Phase(kernels, width, entry, k == 0 ? 0 : 0.02 * Math.Pow(2, k - 1), 0, LoraProblem.Width, tolerance))];
        LoraPhase[] equal = [.. new[] { 0, LoraProblem.Width / 2 }.Select(from => Phase(kernels, width, entry, 1, from, LoraProblem.Width / 2, tolerance))];
        progress?.Invoke("errors");
        LoraError[] errors = [.. Enumerable.Range(1, LargestDegree).Select(degree => Error(kernels, width, entry, degree))];
        var runs = new List<LoraRun>();
        foreach (int[] parts in (int[][])[[0, 2], [0, 1, 2]])
        {
            foreach (GradientVariant? variant in (GradientVariant?[])[null, GradientVariant.OfAttention, GradientVariant.OfSurrogate])
            {
                progress?.Invoke("training");
                cancellation.ThrowIfCancellationRequested();
                runs.Add(Train(kernels, width, entry, parts, variant, tolerance));
            }
        }

        return new LoraReport(
            width, entry, tolerance, kernels.Name, times,
            Timing.LateSlope(times, t => t.Tokens, t => t.ExactSeconds), Timing.LateSlope(times, t => t.Tokens, t => t.LowRankSeconds),
            CrossingOf(times), LoraProblem.Schedule(PhaseSide)[^1].Keys, phases, equal, LoraProblem.Schedule(ErrorSide)[^1].Keys, errors,
            LoraProblem.Schedule(TrainingSide)[^1].Keys, runs);
    }

    /// <summary>Times, features over the norm of the product, errors and losses.</summary>
    /// <returns>An SVG document.</returns>
    public string Picture() => LineChart.Draw(
        $"LoRA gradients of one head, d = {Width}, entries of X W* up to {Entry}, tolerance {Tolerance}", "see each panel",
        new ChartPanel($"log2 seconds over log2 tokens, exact: exponent {ExactExponent:0.00}", [.. Times.Select(t => (Math.Log2(t.Tokens), Math.Log2(t.ExactSeconds)))]),
        new ChartPanel($"log2 seconds over log2 tokens, low-rank: exponent {LowRankExponent:0.00}", [.. Times.Select(t => (Math.Log2(t.Tokens), Math.Log2(t.LowRankSeconds)))]),
        new ChartPanel("log10 features needed, over the largest entry of X W* + (alpha/r) X B A", [.. Phases.Where(p => p.Features is not null).Select(p => (p.Gamma, Math.Log10(p.Features!.Value)))]),
        new ChartPanel("log10 bound on dQ, over the degree", [.. Errors.Select(e => ((double)e.Degree, Math.Log10(e.QueryBound)))]),
        new ChartPanel("log10 error of dQ, over the degree", [.. Errors.Select(e => ((double)e.Degree, Math.Log10(e.Queries)))]),
        new ChartPanel("log10 loss over steps, exact gradients", [.. Runs[0].Losses.Select((loss, i) => ((double)i, Math.Log10(loss)))]),
        new ChartPanel("log10 loss over steps, low-rank gradients (variant A)", [.. Runs[1].Losses.Select((loss, i) => ((double)i, Math.Log10(loss)))]));

    private static LoraTime Time(KernelSet kernels, int side, int width, double entry, double tolerance, CancellationToken cancellation)
    {
        using var problem = new LoraProblem(kernels, side, width, entry, [0, 1, 2]);
        using var memory = new HeadMemory(problem);
        KernelSet one = KernelSet.Create(kernels.Name, threads: 1);
        using WorkerPool pool = one.Pool;
        using var sequence = new LowRankGradient();
        int degree = Prepare(sequence, memory, tolerance) ?? throw new ArithmeticException($"no degree meets the tolerance {tolerance}");
        memory.Exact(one);
        float[] exact = memory.Of(5).Span().ToArray();
        Fast();
        double largest = exact.Max(Math.Abs), difference = memory.Of(5).Span().ToArray().Zip(exact, (a, b) => Math.Abs(a - b)).Max();
        double fast = Timing.LeastSeconds(Fast, cancellation), slow = Timing.LeastSeconds(() => memory.Exact(one), cancellation);
        return new LoraTime(side, problem.Tokens, slow, fast, degree, difference / largest);

        void Fast()
        {
            memory.Clear();
            sequence.Begin(memory.Of(0), memory.Of(1), memory.Of(2), problem.Scale, problem.Segments);
            sequence.Use(degree);
            sequence.Forward(memory.Of(4));
            sequence.Backward(memory.Of(3), memory.Of(5), memory.Of(6), memory.Of(7), GradientVariant.OfAttention);
        }
    }

    private static LoraPhase Phase(KernelSet kernels, int width, double entry, double size, int from, int used, double tolerance)
    {
        using var problem = new LoraProblem(kernels, PhaseSide, width, entry, [0, 1, 2], used);
        problem.SetChange(size, from);
        (double change, double product, double gamma) = problem.Norms();
        using var memory = new HeadMemory(problem);
        using var sequence = new LowRankGradient();
        int? degree = Prepare(sequence, memory, tolerance);
        return new LoraPhase(
            change, product, gamma, sequence.HalfRange, degree, degree is { } g ? Criteria.MonomialBasis.CountOf(width, g) : null,
            degree is { } h ? sequence.Cost(h) / sequence.ExactCost : null);
    }

    private static LoraError Error(KernelSet kernels, int width, double entry, int degree)
    {
        using var problem = new LoraProblem(kernels, ErrorSide, width, entry, [0, 1, 2]);
        problem.SetChange(0.2);
        using var memory = new HeadMemory(problem);
        double[][] operands = [.. Enumerable.Range(0, 4).Select(n => Array.ConvertAll(memory.Of(n).Span().ToArray(), value => (double)value))];
        var judge = ReferenceGradient<double>.Compute(operands[0], operands[1], operands[2], operands[3], width, problem.Scale, problem.Segments);
        using var sequence = new LowRankGradient();
        sequence.Begin(memory.Of(0), memory.Of(1), memory.Of(2), problem.Scale, problem.Segments);
        sequence.Use(degree);
        GradientCertificate bound = sequence.Backward(memory.Of(3), memory.Of(5), memory.Of(6), memory.Of(7), GradientVariant.OfAttention);
        double queries = Off(judge.Queries, 5), keys = Off(judge.Keys, 6), values = Off(judge.Values, 7);
        return queries <= bound.QueryBound && keys <= bound.KeyBound && values <= bound.ValueBound
            ? new LoraError(degree, sequence.Basis!.Count, queries, bound.QueryBound, keys, bound.KeyBound, values, bound.ValueBound)
            : throw new ArithmeticException($"degree {degree}: gradients are off by {queries}, {keys}, {values}, the certificate says {bound}");

        double Off(double[] exact, int index) => memory.Of(index).Span().ToArray().Zip(exact, (a, b) => Math.Abs(a - b)).Max();
    }

    private static LoraRun Train(KernelSet kernels, int width, double entry, int[] parts, GradientVariant? variant, double tolerance)
    {
        // A teacher with a hidden change of the same shape; the student starts without one.
        using var problem = new LoraProblem(kernels, TrainingSide, width, entry, parts);
        float[] start = problem.A.Value.Span().ToArray();
        problem.SetChange(0.3);
        float[] target = problem.Output();
        start.CopyTo(problem.A.Value.Span());
        problem.B.Value.Span().Clear();
        problem.A.Changed();
        problem.B.Changed();
        using LowRankTraining? lowRank = variant is { } chosen ? new LowRankTraining(tolerance, chosen) : null;
        using var optimizer = new AdamW([problem.A, problem.B], new AdamWOptions { WeightDecay = 0 }, kernels.Pool);
        var losses = new List<double>();
        for (int step = 0; step < TrainingSteps; step++)
        {
            losses.Add(problem.Step(target, lowRank));
            optimizer.Step(0.02);
        }

        string name = variant switch { null => "exact", GradientVariant.OfAttention => "low-rank, variant A", _ => "low-rank, variant B" };
        return new LoraRun(name, parts.Length == 2 ? "Q, V" : "Q, K, V", losses, lowRank?.ExactHeads ?? 0, problem.Norms().Gamma);
    }

    /// <summary>The least degree within the tolerance, whatever it costs.</summary>
    private static int? Prepare(LowRankGradient sequence, HeadMemory memory, double tolerance) =>
        sequence.Begin(memory.Of(0), memory.Of(1), memory.Of(2), memory.Problem.Scale, memory.Problem.Segments) is null ? sequence.LeastDegree(tolerance) : null;

    private static double? CrossingOf(List<LoraTime> times)
    {
        for (int i = 1; i < times.Count; i++)
        {
            double before = Math.Log(times[i - 1].Speedup), after = Math.Log(times[i].Speedup);
            if (before < 0 && after >= 0)
            {
                return Math.Exp(Math.Log(times[i - 1].Tokens) + (before / (before - after) * Math.Log((double)times[i].Tokens / times[i - 1].Tokens)));
            }
        }

        return null;
    }

    /// <summary>Q, K, V, G, O, dQ, dK, dV of a problem, one head.</summary>
    private sealed class HeadMemory : IDisposable
    {
        private readonly FloatBuffer _memory;

        public HeadMemory(LoraProblem problem)
        {
            Problem = problem;
            _memory = new FloatBuffer(8L * problem.Tokens * problem.HeadWidth);
            Matrix qkv = problem.Project().Value;
            var random = new Random(3);
            for (int n = 0; n < 4; n++)
            {
                for (int i = 0; i < problem.Tokens; i++)
                {
                    for (int l = 0; l < problem.HeadWidth; l++)
                    {
                        Of(n).Row(i)[l] = n < 3 ? qkv.Row(i)[(n * problem.HeadWidth) + l] : (2 * random.NextSingle()) - 1;
                    }
                }
            }

            Clear();
        }

        public LoraProblem Problem { get; }

        public Matrix Of(int n) => _memory.Matrix(Problem.Tokens, Problem.HeadWidth, (long)n * Problem.Tokens * Problem.HeadWidth);

        public void Clear()
        {
            for (int n = 4; n < 8; n++)
            {
                Of(n).Span().Clear();
            }
        }

        public void Exact(KernelSet kernels)
        {
            Clear();
            foreach (AttentionSegment s in Problem.Segments)
            {
                kernels.Attention(Head(0).SliceRows(s.QueryStart, s.Queries), Head(1).SliceRows(0, s.Keys), Head(2).SliceRows(0, s.Keys), Problem.Scale, Head(4).SliceRows(s.QueryStart, s.Queries));
                kernels.AttentionGradient(
                    Head(0).SliceRows(s.QueryStart, s.Queries), Head(1).SliceRows(0, s.Keys), Head(2).SliceRows(0, s.Keys), Head(3).SliceRows(s.QueryStart, s.Queries),
                    Problem.Scale, Head(5).SliceRows(s.QueryStart, s.Queries), Head(6).SliceRows(0, s.Keys), Head(7).SliceRows(0, s.Keys));
            }
        }

        public void Dispose() => _memory.Dispose();

        private HeadTensor Head(int n) => HeadTensor.Interleaved(Of(n), 1, 1);
    }
}
