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
    // Values below this range would leave the normal numbers on the way.
    private const double LeastRange = 1e-25;

    private readonly KernelSet _kernels;
    private readonly CertifiedPlan _plan;
    private readonly AuditOptions? _audit;
    private readonly HeadMeasure _head;
    private readonly FlatPath _flat;
    private readonly MergePath _merge;
    private readonly QuantizedPath _quantized;
    private readonly RowOutcomes _rows = new();
    private readonly List<int> _exact = [];
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
        _head = new HeadMeasure(kernels);
        _flat = new FlatPath(kernels, plan);
        _plan = plan;
        _audit = audit;
        _merge = new MergePath(kernels, plan);
        _quantized = new QuantizedPath(kernels);
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

        if ((long)queries * input.Keys.Rows < _plan.LeastPairs || !Fits(input, output))
        {
            return AttendSmall(input, output, rowBounds);
        }

        double bound = 0, work = 0;
        long flat = 0, merged = 0, quantized = 0, audited = 0, exact = 0;
        int exactHeads = 0;
        string reason = "";
        for (int head = 0; head < heads; head++)
        {
            (int b, int h) = (head / input.Queries.Heads, head % input.Queries.Heads);
            string? refusal = AttendHead(input, input.Queries[b, h], input.Keys[b, h], input.Values[b, h], output[b, h], ref work);
            flat += _rows.FlatRows;
            merged += _rows.MergedRows;
            quantized += _rows.QuantizedRows;
            audited += _rows.AuditedRows;
            exact += _exact.Count;
            if (_exact.Count == queries)
            {
                exactHeads++;
                reason = refusal ?? "no row met the tolerance";
            }

            bound = Math.Max(bound, TensorPrimitives.Max(_rows.Bounds));
            if (!rowBounds.IsEmpty)
            {
                _rows.Bounds.CopyTo(rowBounds[(head * queries)..]);
            }
        }

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
        _flat.Dispose();
        _merge.Dispose();
        _quantized.Dispose();
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

    /// <summary>Computes one head; returns why it was not approximated, or null.</summary>
    private string? AttendHead(in AttentionInput input, Matrix queries, Matrix keys, Matrix values, Matrix output, ref double work)
    {
        _head.Begin(queries, keys, values, input.Scale);
        _rows.Begin(output);
        string? refusal = _head.Refusal ?? (_head.Range < LeastRange && Tolerance.Kind == ToleranceKind.Range ? "values that hardly differ" : null);
        if (refusal is null)
        {
            double allowed = Tolerance.Allowed(_head.Range, _head.LargestValue) - _head.ExactBound;
            if (!(allowed > 0))
            {
                refusal = string.Create(CultureInfo.InvariantCulture, $"rounding alone may reach {_head.ExactBound:g3}");
            }
            else if (_flat.Promises(_head, allowed) is var promised && (_plan.Flat ?? promised))
            {
                _flat.Run(_head, Tolerance, _rows);
                work += _flat.Work;
            }
            else
            {
                work += _flat.Work;
                bool integers = _quantized.Begin(_head)
                    && (_plan.Quantized ?? (_quantized.Promises(allowed) && _plan.Costs.Value.Quantized <= _plan.QuantizedWorthIt));
                refusal = Merge(input, allowed, integers ? _quantized : null, ref work);
                if (integers && _rows.AnyPending)
                {
                    _quantized.Run(Tolerance, _rows);
                    work += _quantized.Work;
                }
            }
        }

        AttendRest(input, queries, keys, values, output, ref work);
        return refusal;
    }

    private string? Merge(in AttentionInput input, double allowed, QuantizedPath? integers, ref double work)
    {
        if ((long)_head.Queries.Rows * _head.Keys.Rows < _plan.MergePairs)
        {
            return "scores vary, and there are too few tokens to merge";
        }

        bool went = _audit is { } audit
            ? _merge.RunAudited(_head, input.Maps, Tolerance, allowed, audit, _rows, integers)
            : _merge.Run(_head, input.Maps, Tolerance, allowed, _rows, integers);
        work += _merge.Work;
        return went ? null : _merge.Refusal;
    }

    /// <summary>Computes exactly what is left.</summary>
    private void AttendRest(in AttentionInput input, Matrix queries, Matrix keys, Matrix values, Matrix output, ref double work)
    {
        _exact.Clear();
        bool pending = _rows.AnyPending;
        for (int row = 0; row < queries.Rows && pending; row++)
        {
            if (_rows.IsPending(row))
            {
                _exact.Add(row);
                _rows.SetExact(row, _head.ExactBound);
            }
        }

        work += (double)_exact.Count * keys.Rows * (keys.Columns + values.Columns);
        if (_exact.Count == queries.Rows)
        {
            _kernels.Attention(One(queries), One(keys), One(values), input.Scale, One(output));
            return;
        }

        if (_exact.Count == 0)
        {
            return;
        }

        using Scratch scratch = Scratch.Rent((long)_exact.Count * (queries.Columns + output.Columns));
        Matrix gathered = scratch.Buffer.Matrix(_exact.Count, queries.Columns);
        Matrix result = scratch.Buffer.Matrix(_exact.Count, output.Columns, (long)_exact.Count * queries.Columns);
        for (int i = 0; i < _exact.Count; i++)
        {
            queries.Row(_exact[i]).CopyTo(gathered.Row(i));
        }

        _kernels.Attention(One(gathered), One(keys), One(values), input.Scale, One(result));
        for (int i = 0; i < _exact.Count; i++)
        {
            result.Row(i).CopyTo(output.Row(_exact[i]));
        }
    }

    private static HeadTensor One(Matrix matrix) => HeadTensor.Interleaved(matrix, 1, 1);

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
