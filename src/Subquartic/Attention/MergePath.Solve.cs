using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

// Some tiles together: weights, cuts and lists, then for each attention over its list and the certificate of every row.
internal sealed partial class MergePath
{
    private void Solve(int group)
    {
        int first = group * _group, end = Math.Min(first + _group, _wave.Count);
        if (!_workspaces.TryTake(out MergeWorkspace[]? works))
        {
            works = NewWorkspaces();
        }

        for (int i = first; i < end; i++)
        {
            Weigh(i, works[i - first]);
        }

        for (int attempt = 0; attempt < MaxAttempts; attempt++)
        {
            for (int i = first; i < end; i++)
            {
                if (!TryCut(works[i - first], attempt))
                {
                    works[i - first].Pending.Clear();
                }
            }

            // Block by block, so that the keys come once for all tiles of the group.
            for (int block = 0; block < _summaries.Tree.BlockEnds.Length; block++)
            {
                for (int i = first; i < end; i++)
                {
                    if (works[i - first].Pending.Count > 0)
                    {
                        ListOf(i, works[i - first]).Add(block);
                    }
                }
            }

            for (int i = first; i < end && !_audited; i++)
            {
                if (works[i - first].Pending.Count > 0)
                {
                    ListOf(i, works[i - first]).End();
                }
            }

            for (int block = 0; block < _summaries.Tree.BlockEnds.Length && !_audited; block++)
            {
                for (int i = first; i < end; i++)
                {
                    if (works[i - first].Pending.Count > 0)
                    {
                        ListOf(i, works[i - first]).AddScatters(block);
                    }
                }
            }

            for (int i = first; i < end; i++)
            {
                if (works[i - first].Pending.Count > 0)
                {
                    Answer(i, works[i - first], attempt);
                }
            }
        }

        _workspaces.Add(works);
    }

    private MergeList ListOf(int index, MergeWorkspace work) => new(_head, _summaries, _pool[index], work, !_audited);

    /// <summary>Four rows become columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Transpose(ReadOnlySpan<float> rows, Span<Vector128<float>> columns)
    {
        int length = columns.Length;
        ReadOnlySpan<float> a = rows[..length], b = rows.Slice(length, length), c = rows.Slice(2 * length, length), d = rows.Slice(3 * length, length);
        for (int i = 0; i < columns.Length; i++)
        {
            columns[i] = Vector128.Create(a[i], b[i], c[i], d[i]);
        }
    }

    /// <summary>Weights of all keys for the pilot of a tile, and the guesses that follow.</summary>
    private void Weigh(int index, MergeWorkspace work)
    {
        MergeTile tile = _pool[index];
        int keys = _head.Keys.Rows;
        work.Begin(keys, _summaries.KeyStride, _summaries.ValueStride, _summaries.Tree.BlockEnds.Length * _summaries.Tree.Depths);
        ReadOnlySpan<float> products = _scores.Span((long)PilotRows * index * keys, PilotRows * keys);
        Span<float> pilots = work.Pilots;
        TensorPrimitives.Subtract(products[..keys], TensorPrimitives.Max(products[..keys]), pilots);
        TensorPrimitives.Max(pilots, LeastPilot, pilots);
        kernels.Exp(pilots, work.Weights);
        work.Cut.Begin(_summaries, work.Weights, (float)tile.LongestLength, kernels);
        (work.Target, work.Price) = (_gamma * _allowed, _price);
        work.Pending.Clear();
        for (int i = 0; i < tile.Count; i++)
        {
            work.Pending.Add(i);
        }

        if (!_audited)
        {
            Transpose(products[keys..], MemoryMarshal.Cast<float, Vector128<float>>(work.Places));
            ListOf(index, work).Begin();
            ReadOnlySpan<float> origin = work.Origin;
            work.OriginPlaces = Vector128.Create(
                TensorPrimitives.Dot(origin, tile.Pilots.Row(1)), TensorPrimitives.Dot(origin, tile.Pilots.Row(2)),
                TensorPrimitives.Dot(origin, tile.Pilots.Row(3)), TensorPrimitives.Dot(origin, tile.Pilots.Row(4)));
        }

        _results.AsSpan(4 * index, 4).Clear();
    }

    /// <summary>Cuts the tree and begins the list, unless the pending rows are cheaper without.</summary>
    private bool TryCut(MergeWorkspace work, int attempt)
    {
        int rows = work.Pending.Count, keys = _head.Keys.Rows, width = _head.Keys.Columns, valueWidth = _head.Values.Columns;
        if (rows <= (attempt > 0 ? plan.FewRows : 0))
        {
            return false;
        }

        work.Price = Cut(work.Cut, work.Target, work.Price);
        int entries = work.Cut.Entries;
        double left = LeftCost * rows * keys * (width + valueWidth);
        if (ListCost(entries, rows) > plan.WorthIt * left)
        {
            return false;
        }

        work.Cut.List();
        work.BeginList(entries, width + 1, ValueColumns);
        work.Centre.Clear();
        work.Scatter.Clear();
        work.Kappa.Clear();
        Array.Clear(work.Tilts);
        (work.Widest, work.Farthest, work.Steepest) = (0, 0, 0);
        (work.Entries, work.Total, work.Largest, work.LargestBias) = (0, 0, 1, 0);
        return true;
    }

    // What rounding of the means of nodes may hide of their scatter, a key, over max|k|^2.
    private const double Merging = 1e-7;

    // Of the rows of a tile, those whose bounds the next cut is chosen for; the rest get a finer list of their own.
    private const double PassShare = 0.97;

    private int ValueColumns => _audited ? _summaries.ValueStride : _summaries.ValueStride + MergeList.Columns;

    /// <summary>Attention of the pending rows over a finished list.</summary>
    private void Answer(int index, MergeWorkspace work, int attempt)
    {
        int rows = work.Pending.Count, width = _head.Keys.Columns;
        MergeTile tile = _pool[index];
        Matrix queries = work.Queries(rows, width + 1), output = work.Outputs(rows, ValueColumns), statistics = work.Statistics(rows);
        for (int i = 0; i < rows; i++)
        {
            tile.Differences.Row(work.Pending[i])[..width].CopyTo(queries.Row(i));
            queries.Row(i)[width] = 1;
        }

        if (_integers is null)
        {
            kernels.Attention(One(queries), One(work.ListKeys), One(work.ListValues), 1, One(output));
        }
        else
        {
            AnswerInIntegers(_integers, work, queries.SliceColumns(0, width), output, statistics);
        }

        Span<double> result = _results.AsSpan(4 * index, 4);
        result[0] += ((double)work.Entries * rows * (width + ValueColumns)) + ((double)work.Cut.MergedKeys * (width + _head.Values.Columns))
            + (_audited ? 0 : ((double)work.Kappa.Length + rows) * RowVectors.TriangleLength(_summaries.KeyStride));
        if (_audited)
        {
            for (int i = 0; i < rows; i++)
            {
                int target = tile.Rows[work.Pending[i]];
                output.Row(i)[.._head.Values.Columns].CopyTo(_outcomes.Output.Row(target));
                _outcomes.SetAudited(target);
            }

            (result[1], result[2]) = (1, work.Price);
            work.Pending.Clear();
            return;
        }

        double worst = Certify(tile, work, output, statistics);
        if (attempt == 0)
        {
            Span<float> ratios = work.Ratios(rows);
            ratios.Sort();
            (result[1], result[2], result[3]) = (1 / Math.Max(1e-3, 1.03 * ratios[(int)(PassShare * (rows - 1))]), work.Price, work.Entries);
        }

        work.Target *= Math.Clamp(0.8 / worst, 0.05, 0.6);
    }

    /// <summary>Scores and values in integers, certificates in float32.</summary>
    private void AnswerInIntegers(QuantizedPath integers, MergeWorkspace work, Matrix queries, Matrix output, Matrix statistics)
    {
        int width = _head.Keys.Columns, values = _head.Values.Columns, stride = _summaries.ValueStride;
        ReadOnlySpan<float> shift = _audited ? _head.KeyMean : work.Origin;
        kernels.Quantize(
            work.ListKeys.SliceColumns(0, width), shift[..width], work.ListValues.SliceColumns(0, values), integers.Middle, integers.Unit, work.Integers,
            work.ListKeys.SliceColumns(width, 1));
        for (int i = 0; i < output.Rows && stride > values; i++)
        {
            output.Row(i)[values..stride].Clear();
        }

        (Matrix more, Matrix moreOutput) = _audited ? default : (work.ListValues.SliceColumns(stride, MergeList.Columns), output.SliceColumns(stride, MergeList.Columns));
        kernels.QuantizedAttention(queries, 1, work.Integers, [], output.SliceColumns(0, values), statistics, more, moreOutput);
    }

    private static HeadTensor One(Matrix matrix) => HeadTensor.Interleaved(matrix, 1, 1);

    /// <summary>Finds a price at which the guessed error is near the target; returns it.</summary>
    private static double Cut(KeyCut cut, double target, double price)
    {
        for (int round = 0; ; round++)
        {
            double error = cut.Choose((float)price);
            double ratio = error / target;
            if (round == 3 || (ratio > 0.75 && ratio < 1.15) || !(ratio > 0) || !double.IsFinite(price))
            {
                return price;
            }

            price *= Math.Clamp(Math.Pow(ratio, 1.4), 0.02, 50);
        }
    }

    /// <summary>Writes the rows whose bound is small enough, keeps the others pending; returns the largest bound over what is allowed.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private double Certify(MergeTile tile, MergeWorkspace work, Matrix output, Matrix statistics)
    {
        int entries = work.Entries, largest = work.Largest;
        float bias = work.LargestBias;
        ReadOnlySpan<float> reference = work.Reference;
        int width = _head.Keys.Columns, valueWidth = _head.Values.Columns, keys = _head.Keys.Rows, stride = _summaries.ValueStride;
        double longest = _summaries.LongestKey, vmax = _head.LargestValue;
        double pilot = ((ExactAttention.Gamma(width + 2) + (4 * U)) * tile.PilotLength * longest) + (4 * U);
        double sums = _integers is null ? ExactAttention.Sums(entries) : 2 * (ExactAttention.Gamma(2 * QuantizedHead.KeyBlock) + QuantizedPath.Sums(entries));
        double columnsUp = (1 + (2 * sums) + (8 * U)) * (1 + 1e-6);
        double worst = 0, trace = RowVectors.Trace(_summaries.KeyStride, work.Scatter), counts = 0;
        KeyTree tree = _summaries.Tree;
        for (int place = 0; place < work.Kappa.Length; place++)
        {
            counts += work.Kappa[place] * tree.Count[tree.BlockEnds[place / tree.Depths] - 1];
        }

        // What rounding may hide of u'Mu', by the square of a length.
        double hidden = (((2 * ExactAttention.Gamma(work.Kappa.Length + (2 * KeyTree.MaxCount) + width)) + 1e-6) * trace) + (Merging * longest * longest * counts);
        double enlarged = 1.002 + (2 * ExactAttention.Gamma(entries + KeyTree.MaxCount));
        Span<float> far = stackalloc float[RowVectors.Lanes];
        Span<float> ratios = work.Ratios(work.Pending.Count);
        work.Failed.Clear();
        for (int r = 0; r < work.Pending.Count; r++)
        {
            int i = work.Pending[r];
            ReadOnlySpan<float> row = output.Row(r), value = row[..valueWidth], average = row[stride..];
            double length = tile.Length[i];
            double shift = (5 * U * (_head.LongestQuery + length) * longest) + pilot
                + ((ExactAttention.Gamma(largest + 4) + ExactAttention.Gamma(width + 6)) * length * longest) + ExactAttention.Gamma(largest + 2)
                + (8 * U * bias) + (((4 * ExactAttention.Blocks(entries)) + 8) * U);
            double lost = keys * Math.Exp(LeastPilot + (2 * length * longest)), share = 0, apart = 0;
            if (_integers is not null)
            {
                shift += _integers.ScoreError(statistics.Row(r)[1]);
                share = QuantizedPath.LostShare(statistics.Row(r)[0], entries);
                apart = (_head.Range * (share + QuantizedPath.Sums(entries))) + _integers.ValueError;
            }

            // How far the row may be from attention over the list, but for rounding of its sums.
            apart += _head.Range * (Math.Tanh(shift / 2) + lost);
            ReadOnlySpan<double> places = tile.Places(i);
            double corner = 0;
            for (int k = 0; k < places.Length; k++)
            {
                double place = places[k] / tile.Deviations[k];
                corner += place * place;
            }

            double tilt = (Math.Sqrt(corner) * work.Steepest) + (tile.Rest[i] * work.Farthest);
            double beyond = (RowVectors.TriangleQuadratic(tile.Remainders.Row(i), work.Scatter) * enlarged) + (hidden * tile.Rest[i] * tile.Rest[i]) + (1e-10 * trace * length * length);
            double rest = Math.Min(
                tile.Rest[i] * Math.Sqrt(average[MergeList.Rest]),
                Math.Sqrt(Math.Max(0, beyond)) * Math.Exp((tilt * 0.5005) + shift + (2 * ExactAttention.Gamma(entries + KeyTree.MaxCount + width + 8) * length * longest)));
            double slope = Slope(places, average, 2 * (sums + ExactAttention.Gamma(largest + 32))) + rest, second = slope * slope / 2, truncation = 0;
            RowVectors.Far(row[..stride], MemoryMarshal.Cast<float, Vector512<float>>(reference)).CopyTo(far);
            for (int g = 0; g < far.Length; g++)
            {
                truncation = Math.Max(truncation, (slope * Math.Sqrt(average[g])) + (second * (work.Tilts[g] + ((far[g] + apart + (4 * U * vmax)) * work.Widest))));
            }

            float top = _tolerance.Kind == ToleranceKind.Row ? RowVectors.LargestMagnitude(value) : 0;
            double bound = (truncation * columnsUp * (1 + share) * Math.Exp(2 * shift)) + apart
                + ((ExactAttention.Gamma(largest + 4) + sums + (3 * U)) * vmax) + ((keys + 4) * (double)float.Epsilon);
            double allowed = _tolerance.Allowed(_head.Range, top);
            worst = Math.Max(worst, bound / allowed);
            ratios[r] = (float)(bound / allowed);
            if (bound <= allowed)
            {
                int target = tile.Rows[i];
                value.CopyTo(_outcomes.Output.Row(target));
                _outcomes.SetMerged(target, bound);
            }
            else
            {
                work.Failed.Add(i);
            }
        }

        work.Pending.Clear();
        work.Pending.AddRange(work.Failed);
        return double.IsNaN(worst) ? double.PositiveInfinity : Math.Max(worst, 1e-3);
    }

    /// <summary>At least sqrt(a'&lt;phi S/h&gt;a).</summary>
    private static double Slope(ReadOnlySpan<double> a, ReadOnlySpan<float> average, double rounding)
    {
        double square = 0, sum = 0;
        for (int i = 0, at = MergeList.Forms; i < a.Length; i++)
        {
            for (int j = 0; j < i; j++, at++)
            {
                square += 2 * a[i] * a[j] * average[at];
            }

            square += a[i] * a[i] * average[at];
            sum += Math.Abs(a[i]) * Math.Sqrt(average[at++]);
        }

        // Mixed terms have either sign, so that their sums may cancel; their error is bounded by the diagonal.
        return Math.Sqrt(Math.Max(0, square) + (rounding * sum * sum));
    }
}
