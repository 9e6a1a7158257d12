using System.Globalization;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Attention;

/// <summary>One head of <see cref="CertifiedAttention"/> after the other, and the memory for it.</summary>
internal sealed class CertifiedHead(KernelSet kernels, Tolerance tolerance, CertifiedPlan plan, AuditOptions? audit) : IDisposable
{
    // Values below this range would leave the normal numbers on the way.
    private const double LeastRange = 1e-25;

    private readonly HeadMeasure _head = new(kernels);
    private readonly FlatPath _flat = new(kernels, plan);
    private readonly MergePath _merge = new(kernels, plan);
    private readonly QuantizedPath _quantized = new(kernels);
    private readonly List<int> _exact = [];

    /// <summary>How the rows of the last head were computed.</summary>
    public RowOutcomes Rows { get; } = new();

    /// <summary>Rows of the last head that were computed exactly.</summary>
    public int ExactRows => _exact.Count;

    /// <summary>Multiply-adds spent on the last head.</summary>
    public double Work { get; private set; }

    /// <summary>Computes the head.</summary>
    /// <param name="queries">(L, c).</param>
    /// <param name="keys">(S, c).</param>
    /// <param name="values">(S, c_v).</param>
    /// <param name="scale">Factor on the scores.</param>
    /// <param name="maps">Where the keys lie, or null.</param>
    /// <param name="output">(L, c_v), overwritten.</param>
    /// <returns>Why it was not approximated, or null.</returns>
    public string? Attend(Matrix queries, Matrix keys, Matrix values, float scale, ScaleSchedule? maps, Matrix output)
    {
        Work = 0;
        _head.Begin(queries, keys, values, scale);
        Rows.Begin(output);
        string? refusal = _head.Refusal ?? (_head.Range < LeastRange && tolerance.Kind == ToleranceKind.Range ? "values that hardly differ" : null);
        if (refusal is null)
        {
            double allowed = tolerance.Allowed(_head.Range, _head.LargestValue) - _head.ExactBound;
            bool integers = _quantized.Begin(_head) && (plan.Quantized ?? _quantized.Promises(allowed));
            if (!(allowed > 0))
            {
                refusal = string.Create(CultureInfo.InvariantCulture, $"rounding alone may reach {_head.ExactBound:g3}");
            }
            else if (!integers && (long)queries.Rows * keys.Rows < plan.LeastPairs)
            {
                refusal = "too few tokens, and scores too large for integers"; // more looking would cost more than flat heads save
            }
            else if (_flat.Promises(_head, allowed) is var promised && (plan.Flat ?? promised))
            {
                _flat.Run(_head, tolerance, Rows);
                Work += _flat.Work;
            }
            else
            {
                Work += _flat.Work;
                integers = integers && plan.IntegersAreWorthIt; // costs are asked for only then
                refusal = Merge(maps, allowed, integers ? _quantized : null);
                if (integers && Rows.AnyPending)
                {
                    _quantized.Run(tolerance, Rows);
                    Work += _quantized.Work;
                }
            }
        }

        AttendRest(queries, keys, values, scale, output);
        return refusal;
    }

    private string? Merge(ScaleSchedule? maps, double allowed, QuantizedPath? integers)
    {
        if ((long)_head.Queries.Rows * _head.Keys.Rows < plan.MergePairs)
        {
            return "scores vary, and there are too few tokens to merge";
        }

        bool went = audit is { } options
            ? _merge.RunAudited(_head, maps, tolerance, allowed, options, Rows, integers)
            : _merge.Run(_head, maps, tolerance, allowed, Rows, integers);
        Work += _merge.Work;
        return went ? null : _merge.Refusal;
    }

    /// <summary>Computes exactly what is left.</summary>
    private void AttendRest(Matrix queries, Matrix keys, Matrix values, float scale, Matrix output)
    {
        _exact.Clear();
        bool pending = Rows.AnyPending;
        for (int row = 0; row < queries.Rows && pending; row++)
        {
            if (Rows.IsPending(row))
            {
                _exact.Add(row);
                Rows.SetExact(row, _head.ExactBound);
            }
        }

        Work += (double)_exact.Count * keys.Rows * (keys.Columns + values.Columns);
        if (_exact.Count == queries.Rows)
        {
            kernels.Attention(One(queries), One(keys), One(values), scale, One(output));
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

        kernels.Attention(One(gathered), One(keys), One(values), scale, One(result));
        for (int i = 0; i < _exact.Count; i++)
        {
            result.Row(i).CopyTo(output.Row(_exact[i]));
        }
    }

    /// <summary>Frees the working memory.</summary>
    public void Dispose()
    {
        _flat.Dispose();
        _merge.Dispose();
        _quantized.Dispose();
    }

    private static HeadTensor One(Matrix matrix) => HeadTensor.Interleaved(matrix, 1, 1);
}
