using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Attention;

// One tile: weights, cut, list, attention over the list, certificate of every row.
internal sealed partial class MergePath
{
    private void Solve(int index)
    {
        MergeTile tile = _pool[index];
        int keys = _head.Keys.Rows, width = _head.Keys.Columns, valueWidth = _head.Values.Columns;
        const int rowsPerTile = MergeTile.PilotRows;
        int stride = _summaries.ValueStride;
        Span<float> pilots = _scores.Span((long)rowsPerTile * index * keys, keys);
        ReadOnlySpan<float> places = _scores.Span((((long)rowsPerTile * index) + 1) * keys, (MergeTile.Directions * keys) + RowVectors.Lanes);
        TensorPrimitives.Subtract(pilots, TensorPrimitives.Max<float>(pilots), pilots);
        TensorPrimitives.Max(pilots, LeastPilot, pilots);
        int padded = RowVectors.Padded(keys) + RowVectors.Lanes;
        using Scratch scratch = Scratch.Rent(padded + stride);
        Span<float> weights = scratch.Buffer.Span(0, padded), reference = scratch.Buffer.Span(padded, stride);
        kernels.Exp(pilots, weights[..keys]);
        weights[keys..].Clear();
        if (!_workspaces.TryTake(out MergeWorkspace? work))
        {
            work = new MergeWorkspace();
        }

        work.Cut.Begin(_summaries, weights, (float)tile.LongestLength, kernels);
        work.Pending.Clear();
        for (int i = 0; i < tile.Count; i++)
        {
            work.Pending.Add(i);
        }

        Span<double> result = _results.AsSpan(4 * index, 4);
        result.Clear();
        double target = _gamma * _allowed, price = _price;
        var list = new MergeList(_head, _summaries, tile, pilots, places, keys, weights);
        int columns = (stride + MergeList.Columns + 8) / 8 * 8;
        for (int attempt = 0; attempt < MaxAttempts && work.Pending.Count > (attempt > 0 ? plan.FewRows : 0); attempt++)
        {
            price = Cut(work.Cut, target, price);
            int rows = work.Pending.Count, entries = work.Cut.Entries;
            double exact = (double)rows * keys * (width + valueWidth);
            if ((plan.ListCost * entries * rows * (width + columns)) + (plan.BuildCost * keys * (width + valueWidth)) > plan.WorthIt * exact)
            {
                break;
            }

            work.Cut.List(work.Nodes);
            Matrix listKeys = work.Keys(entries, width + 1), listValues = work.Values(entries, columns);
            int largest = list.Write(work.Nodes, work.Cut.Weights, listKeys, listValues, reference, out float bias);
            Matrix queries = work.Queries(rows, width + 1), output = work.Outputs(rows, columns);
            for (int i = 0; i < rows; i++)
            {
                tile.Differences.Row(work.Pending[i])[..width].CopyTo(queries.Row(i));
                queries.Row(i)[width] = 1;
            }

            kernels.Attention(One(queries), One(listKeys), One(listValues), 1, One(output));
            result[0] += ((double)entries * rows * (width + columns)) + ((double)work.Cut.MergedKeys * (width + valueWidth));
            double worst = Certify(tile, work, output, reference, entries, largest, bias);
            if (attempt == 0)
            {
                result[1] = 1 / (1.03 * worst);
                result[2] = price;
            }

            target *= Math.Clamp(0.8 / worst, 0.05, 0.6);
        }

        _workspaces.Add(work);
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
    private double Certify(MergeTile tile, MergeWorkspace work, Matrix output, ReadOnlySpan<float> reference, int entries, int largest, float bias)
    {
        int width = _head.Keys.Columns, valueWidth = _head.Values.Columns, keys = _head.Keys.Rows, stride = _summaries.ValueStride;
        double longest = _summaries.LongestKey, vmax = _head.LargestValue;
        double pilot = ((ExactAttention.Gamma(width + 2) + (4 * U)) * tile.PilotLength * longest) + (4 * U);
        double sums = ExactAttention.Sums(entries);
        double columnsUp = (1 + (2 * sums) + (8 * U)) * (1 + 1e-6);
        double worst = 0;
        Span<float> far = stackalloc float[RowVectors.Lanes];
        work.Failed.Clear();
        for (int r = 0; r < work.Pending.Count; r++)
        {
            int i = work.Pending[r];
            ReadOnlySpan<float> row = output.Row(r), value = row[..valueWidth], average = row[stride..];
            double length = tile.Length[i];
            double shift = (5 * U * (_head.LongestQuery + length) * longest) + pilot
                + ((ExactAttention.Gamma(largest + 4) + ExactAttention.Gamma(width + 6)) * length * longest) + ExactAttention.Gamma(largest + 2)
                + (8 * U * bias) + (((4 * ExactAttention.Blocks(entries)) + 8) * U);
            double lost = keys * Math.Exp(LeastPilot + (2 * length * longest));
            double slope = Slope(tile.Places(i), average, 2 * (sums + (16 * U))) + (tile.Rest[i] * Math.Sqrt(average[MergeList.Rest]));
            double tilt = Math.Sqrt(average[MergeList.Tilt]) / 2, truncation = 0;
            RowVectors.Far(row[..stride], MemoryMarshal.Cast<float, Vector512<float>>(reference)).CopyTo(far);
            for (int g = 0; g < far.Length; g++)
            {
                truncation = Math.Max(truncation, slope * (Math.Sqrt(average[g]) + ((far[g] + (4 * U * vmax)) * tilt)));
            }

            float top = _tolerance.Kind == ToleranceKind.Row ? RowVectors.LargestMagnitude(value) : 0;
            double bound = (truncation * columnsUp * Math.Exp(2 * shift)) + (_head.Range * (Math.Tanh(shift / 2) + lost))
                + ((ExactAttention.Gamma(largest + 4) + sums + (3 * U)) * vmax) + ((keys + 4) * (double)float.Epsilon);
            double allowed = _tolerance.Allowed(_head.Range, top);
            worst = Math.Max(worst, bound / allowed);
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
