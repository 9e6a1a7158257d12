using System.Collections.Concurrent;
using System.Globalization;
using System.Numerics.Tensors;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Attention;

/// <summary>Attention of any queries, keys and values, every row of which carries a proved bound within the tolerance or is computed
/// exactly, and which is faster than exact attention where the data allow it.</summary>
/// <remarks>
/// <para>A head is tried in this order: as one cluster of keys, where scores hardly depend on the query (<see cref="FlatPath"/>);
/// tile by tile of like queries with merged keys (<see cref="MergePath"/>); what is left with 16-bit integers (<see cref="QuantizedPath"/>), where the processor is faster with them; exactly. A sample decides before work is spent, four
/// tiles before a head is merged, and every row that misses the tolerance is computed again by the exact kernel.</para>
/// <para>Bounds hold in exact arithmetic for the very float32 input, with rounding included, for any input; when a value is not finite
/// the head is computed exactly and its bound is infinite. Results do not depend on threads, nor on other heads and images.</para>
/// </remarks>
public sealed class CertifiedAttention : IAttention, IDisposable
{
    private readonly KernelSet _kernels;
    private readonly CertifiedPlan _plan;
    private readonly AuditOptions? _audit;
    private readonly ConcurrentBag<CertifiedHead> _heads = [];
    private HeadResult[] _results = [];
    private double[] _bounds = [];
    private double[] _smallParts = [];

    /// <summary>Creates the strategy.</summary>
    /// <param name="kernels">The kernels that compute.</param>
    /// <param name="tolerance">Largest error of any output entry; a number alone is a fraction of the range of V.</param>
    /// <param name="costs">What merging and integers cost, asked for when the first head might be computed so; null for the same on every machine. They decide which way a row goes, and so its bits.</param>
    /// <exception cref="ArgumentOutOfRangeException">The tolerance is not positive.</exception>
    public CertifiedAttention(KernelSet kernels, Tolerance tolerance, Lazy<CertifiedCosts>? costs = null)
        : this(kernels, tolerance, CertifiedPlan.With(costs))
    {
    }

    /// <summary>Creates the strategy with a plan of its own.</summary>
    /// <param name="kernels">The kernels that compute.</param>
    /// <param name="tolerance">Largest error of any output entry.</param>
    /// <param name="plan">Which ways are tried.</param>
    /// <param name="audit">For <see cref="AuditedAttention"/>: how merged rows are audited instead of proved.</param>
    internal CertifiedAttention(KernelSet kernels, Tolerance tolerance, CertifiedPlan plan, AuditOptions? audit = null)
    {
        ArgumentNullException.ThrowIfNull(kernels);
        if (!(tolerance.Value > 0))
        {
            throw new ArgumentOutOfRangeException(nameof(tolerance), tolerance, "must be above 0");
        }

        _kernels = kernels;
        Tolerance = tolerance;
        _plan = plan;
        _audit = audit;
    }

    /// <inheritdoc/>
    public string Name => "certified";

    /// <summary>Largest error of any output entry that is not computed exactly.</summary>
    public Tolerance Tolerance { get; }

    /// <inheritdoc/>
    /// <remarks>One call at a time. The bound covers all heads and rows, those computed exactly with their rounding.</remarks>
    public Certificate Attend(in AttentionInput input, HeadTensor output) => Attend(input, output, default);

    /// <summary>Computes attention and the bound of every row.</summary>
    /// <param name="input">Queries, keys, values and scale.</param>
    /// <param name="output">(B, H, L, c_v), overwritten; must not overlap the input.</param>
    /// <param name="rowBounds">(B, H, L), overwritten: max |o - o*| over a row is at most its bound, in units of V. Empty for none.</param>
    /// <returns>How it was computed, and the largest bound.</returns>
    /// <exception cref="ArgumentException">The shapes do not fit together.</exception>
    public Certificate Attend(in AttentionInput input, HeadTensor output, Span<double> rowBounds)
    {
        int heads = input.Queries.Batch * input.Queries.Heads, queries = input.Queries.Rows;
        if (!rowBounds.IsEmpty && rowBounds.Length != (long)heads * queries)
        {
            throw new ArgumentException($"{rowBounds.Length} bounds for {heads} heads of {queries} rows.", nameof(rowBounds));
        }

        long pairs = (long)queries * input.Keys.Rows;
        bool narrow = pairs < _plan.QuantizedPairs || input.Keys.Width + input.Values.Width < _plan.QuantizedColumns;
        if (!Fits(input, output) || (pairs < _plan.LeastPairs && (narrow || !_plan.IntegersAreWorthIt)))
        {
            return AttendSmall(input, output, rowBounds);
        }

        HeadMeasure.Resize(ref _results, heads);
        if (!rowBounds.IsEmpty)
        {
            HeadMeasure.Resize(ref _bounds, rowBounds.Length);
        }

        // Heads too small to be shared well go to one thread each, as long as there is one for every thread; bits are the same.
        var body = new HeadsBody(this, input, output, keepBounds: !rowBounds.IsEmpty);
        int apart = pairs < _plan.MergePairs ? heads - (heads % _kernels.Pool.Threads) : 0;
        _kernels.Pool.Run(apart, ref body);
        for (int head = apart; head < heads; head++)
        {
            body.Invoke(head);
        }

        double bound = 0, work = 0;
        long flat = 0, merged = 0, quantized = 0, audited = 0, exact = 0;
        int exactHeads = 0;
        string reason = "";
        foreach (ref readonly HeadResult result in _results.AsSpan(0, heads))
        {
            flat += result.Flat;
            merged += result.Merged;
            quantized += result.Quantized;
            audited += result.Audited;
            exact += result.Exact;
            work += result.Work;
            bound = Math.Max(bound, result.Bound);
            if (result.Exact == queries)
            {
                exactHeads++;
                reason = result.Refusal ?? "no row met the tolerance";
            }
        }

        _bounds.AsSpan(0, rowBounds.Length).CopyTo(rowBounds);
        long rows = (long)heads * queries;
        AttentionPath path = exact == rows ? AttentionPath.Exact : audited > 0 ? AttentionPath.Audited : exact == 0 ? AttentionPath.Certified : AttentionPath.CertifiedWithExactRows;
        if (reason.Length == 0)
        {
            reason = string.Create(CultureInfo.InvariantCulture, $"{flat} rows flat, {merged + audited} merged, {quantized} quantized, {exact} exact");
        }

        return new Certificate(bound, path, reason, heads, exactHeads, rows, exact)
        {
            FlatRows = flat,
            MergedRows = merged,
            QuantizedRows = quantized,
            AuditedRows = audited,
            Work = work / ((double)rows * input.Keys.Rows * (input.Keys.Width + input.Values.Width)),
        };
    }

    /// <summary>Frees the working memory.</summary>
    public void Dispose()
    {
        while (_heads.TryTake(out CertifiedHead? head))
        {
            head.Dispose();
        }
    }

    /// <summary>Whether the shapes fit together; those that do not are refused by the kernel.</summary>
    private static bool Fits(in AttentionInput input, HeadTensor output)
    {
        HeadTensor q = input.Queries, k = input.Keys, v = input.Values;
        return (q.Batch, q.Heads, q.Width) == (k.Batch, k.Heads, k.Width) && (k.Batch, k.Heads, k.Rows) == (v.Batch, v.Heads, v.Rows)
            && (output.Batch, output.Heads, output.Rows, output.Width) == (q.Batch, q.Heads, q.Rows, v.Width);
    }

    /// <summary>Too little work to try anything, or a mistake of the caller: one call for all heads, whose bounds are those of rounding.</summary>
    private Certificate AttendSmall(in AttentionInput input, HeadTensor output, Span<double> rowBounds)
    {
        _kernels.Attention(input.Queries, input.Keys, input.Values, input.Scale, output);
        int heads = input.Queries.Batch * input.Queries.Heads, queries = input.Queries.Rows;
        HeadMeasure.Resize(ref _smallParts, SmallBody.Parts * heads);
        var body = new SmallBody(input, _smallParts);
        _kernels.Pool.Run(SmallBody.Parts * heads, ref body);
        double bound = 0;
        for (int head = 0; head < heads; head++)
        {
            ReadOnlySpan<double> parts = _smallParts.AsSpan(SmallBody.Parts * head, SmallBody.Parts);
            double own = ExactAttention.RoundingBound(
                input.Keys.Width, input.Keys.Rows, Math.Abs((double)input.Scale) * parts[0] * Math.Max(parts[1], parts[2]), parts[3]);
            own = double.IsNaN(own) ? double.PositiveInfinity : own;
            bound = Math.Max(bound, own);
            if (!rowBounds.IsEmpty)
            {
                rowBounds.Slice(head * queries, queries).Fill(own);
            }
        }

        return new Certificate(bound, AttentionPath.Exact, "too few tokens", heads, heads, (long)heads * queries, (long)heads * queries) { Work = 1 };
    }

    /// <summary>How a head was computed.</summary>
    private readonly record struct HeadResult(int Flat, int Merged, int Quantized, int Audited, int Exact, double Work, double Bound, string? Refusal);

    /// <summary>Computes heads.</summary>
    private readonly struct HeadsBody(CertifiedAttention attention, AttentionInput input, HeadTensor output, bool keepBounds) : IParallelBody
    {
        public void Invoke(int task)
        {
            (int b, int h) = Math.DivRem(task, input.Queries.Heads);
            if (!attention._heads.TryTake(out CertifiedHead? head))
            {
                head = new CertifiedHead(attention._kernels, attention.Tolerance, attention._plan, attention._audit);
            }

            string? refusal = head.Attend(input.Queries[b, h], input.Keys[b, h], input.Values[b, h], input.Scale, input.Maps, output[b, h]);
            RowOutcomes rows = head.Rows;
            attention._results[task] = new HeadResult(
                rows.FlatRows, rows.MergedRows, rows.QuantizedRows, rows.AuditedRows, head.ExactRows, head.Work, TensorPrimitives.Max(rows.Bounds), refusal);
            if (keepBounds)
            {
                rows.Bounds.CopyTo(attention._bounds.AsSpan(task * rows.Rows));
            }

            attention._heads.Add(head);
        }
    }

    /// <summary>What the rounding bound of a head needs: its longest query, the longest key of both halves, its largest value. Parts of about the same work,
    /// since a single head would otherwise be one thread's.</summary>
    private readonly struct SmallBody(AttentionInput input, double[] parts) : IParallelBody
    {
        public const int Parts = 4;

        public void Invoke(int task)
        {
            (int head, int part) = Math.DivRem(task, Parts);
            (int b, int h) = Math.DivRem(head, input.Queries.Heads);
            Matrix keys = input.Keys[b, h];
            int half = keys.Rows / 2;
            parts[task] = part switch
            {
                0 => Longest(input.Queries[b, h]),
                1 => Longest(keys.SliceRows(0, half)),
                2 => Longest(keys.SliceRows(half, keys.Rows - half)),
                _ => RowVectors.LargestMagnitude(input.Values[b, h]),
            };
        }

        private static double Longest(Matrix x)
        {
            float longest = RowVectors.LongestSquare(x);
            return Math.Sqrt((longest * (1 + ExactAttention.Gamma(x.Columns + 2))) + (x.Columns * (double)float.Epsilon));
        }
    }
}
