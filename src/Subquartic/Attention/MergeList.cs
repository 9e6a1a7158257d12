using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Attention;

/// <summary>Writes the keys and values that stand for those of a cut: merged nodes by their centroids under the pilot's weights, the
/// rest as they are. The bounds are those of the remarks of <see cref="MergePath"/>.</summary>
/// <param name="head">The head.</param>
/// <param name="summaries">Its keys and values.</param>
/// <param name="tile">The queries.</param>
/// <param name="work">The cut, what the pilot makes of the keys, and the list: keys (L, c + 1), a key and the logarithm of its weight; values (L, at least padded c_v +
/// <see cref="Columns"/>), a value and its certificate.</param>
/// <param name="certify">Whether the list is to have a certificate.</param>
internal readonly ref partial struct MergeList(HeadMeasure head, KeySummaries summaries, MergeTile tile, MergeWorkspace work, bool certify)
{
    /// <summary>First column, behind the values and those of &lt;phi h sd^2&gt; by groups of value columns, of &lt;phi S/h&gt;, row by row of the lower triangle.</summary>
    public const int Forms = RowVectors.Lanes;

    /// <summary>Column of &lt;phi R/h&gt;.</summary>
    public const int Rest = Forms + Pairs;

    /// <summary>Columns of the certificate, the last of which are zero.</summary>
    public const int Columns = 2 * RowVectors.Lanes;

    private const int Pairs = MergeTile.Directions * (MergeTile.Directions + 1) / 2;

    /// <summary>Takes what the pilot's weights make of keys and values, nearly: from the reference points of nodes of a few keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Begin()
    {
        Span<Vector512<float>> reference = MemoryMarshal.Cast<float, Vector512<float>>(work.Reference);
        Span<Vector512<float>> origin = MemoryMarshal.Cast<float, Vector512<float>>(work.Origin);
        ReadOnlySpan<float> sums = work.Cut.Weights;
        reference.Clear();
        origin.Clear();
        float total = 0;
        foreach (int node in summaries.Tree.Coarse)
        {
            RowVectors.AddScaled(summaries.KeyPoint(node), sums[node], origin);
            RowVectors.AddScaled(summaries.ValuePoint(node), sums[node], reference);
            total += sums[node];
        }

        foreach (ref Vector512<float> values in reference)
        {
            values *= 1 / total;
        }

        foreach (ref Vector512<float> keys in origin)
        {
            keys *= 1 / total;
        }
    }

    /// <summary>Adds the entries of one block of the tree. Several tiles in turn add the same block while its keys are in the cache.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Add(int block)
    {
        KeyTree tree = summaries.Tree;
        Matrix keys = work.ListKeys, values = work.ListValues;
        int width = head.Keys.Columns, stride = summaries.ValueStride, largest = work.Largest, entry = work.Entries;
        using Scratch scratch = Scratch.Rent(summaries.KeyStride);
        Span<float> spare = scratch.Buffer.Span(0, summaries.KeyStride), allKeys = keys.Span(), allValues = values.Span();
        Span<Vector512<float>> centre = MemoryMarshal.Cast<float, Vector512<float>>(work.Centre);
        float total = work.Total, largestBias = work.LargestBias, farthest = work.Farthest;
        ReadOnlySpan<float> sums = work.Cut.Weights, weights = work.Weights, pilots = work.Pilots;
        ReadOnlySpan<int> nodes = work.Cut.Block(block);
        int root = tree.BlockEnds[block] - 1, place = tree.Start[root];
        ReadOnlySpan<float> blockKeys = summaries.KeyRows(place, tree.Count[root]), blockValues = summaries.ValueRows(place, tree.Count[root]);
        work.Notes.Count = 0;
        for (int i = 0; i < nodes.Length; i++)
        {
            int node = nodes[i];
            if (certify && i + 4 < nodes.Length && nodes[i + 4] >= 0)
            {
                summaries.Prefetch(nodes[i + 4]);
            }

            int start = tree.Start[node < 0 ? ~node : node], count = tree.Count[node < 0 ? ~node : node];
            if (node >= 0)
            {
                Span<float> key = allKeys.Slice(entry * keys.Columns, keys.Columns), value = allValues.Slice(entry * values.Columns, values.Columns);
                Span<float> centroid = width == spare.Length ? key[..width] : spare;
                float sum = sums[node], inverse = 1 / sum;
                RowVectors.WeightedSums(
                    blockKeys[((start - place) * spare.Length)..], blockValues[((start - place) * stride)..], weights.Slice(start, count), inverse, centroid, value[..stride]);
                total += sum;
                if (width != spare.Length)
                {
                    centroid[..width].CopyTo(key);
                }

                key[width] = MathF.Log(sum);
                largestBias = Math.Max(largestBias, Math.Abs(key[width]));
                if (certify)
                {
                    int at = Describe(node, entry, start, count, inverse, value.Slice(stride + Forms, RowVectors.Lanes));
                    work.Notes.Apart[at] = RowVectors.Place(centroid, sum, summaries.KeyPoint(node), work.Origin, centre, out float far);
                    farthest = Math.Max(farthest, far);
                }

                largest = Math.Max(largest, count);
                entry++;
                continue;
            }

            for (int t = start; t < start + count; t++, entry++)
            {
                Span<float> key = allKeys.Slice(entry * keys.Columns, keys.Columns), value = allValues.Slice(entry * values.Columns, values.Columns);
                summaries.KeyRows(t, 1)[..width].CopyTo(key);
                key[width] = pilots[t];
                summaries.ValueRows(t, 1).CopyTo(value);
                if (certify)
                {
                    value[stride..].Clear();
                    RowVectors.AddScaled(summaries.KeyRows(t, 1), weights[t], centre);
                }

                total += weights[t];
                largestBias = Math.Max(largestBias, -pilots[t]);
            }
        }

        (work.Entries, work.Total, work.Largest, work.LargestBias, work.Farthest) = (entry, total, largest, largestBias, farthest);
        if (certify)
        {
            Bound();
            Weigh(block);
        }
    }

    /// <summary>Completes what the tile knows of all clusters together.</summary>
    public void End()
    {
        // From distances to c_T to those to the mean key, by the triangle inequality.
        ReadOnlySpan<double> deviations = tile.Deviations;
        Span<float> centre = work.Centre;
        ReadOnlySpan<float> origin = work.Origin;
        double apart = 0, along = 0;
        for (int c = 0; c < centre.Length; c++)
        {
            centre[c] = (centre[c] / work.Total) - origin[c];
            apart += (double)centre[c] * centre[c];
        }

        for (int k = 0; k < MergeTile.Directions; k++)
        {
            double step = 0;
            ReadOnlySpan<float> direction = tile.Pilots.Row(k + 1);
            for (int c = 0; c < centre.Length; c++)
            {
                step += (double)centre[c] * direction[c];
            }

            along += step * step * deviations[k] * deviations[k];
        }

        work.Farthest = (float)(Math.Sqrt(work.Farthest) + Math.Sqrt(apart));
        work.Steepest = (float)(Math.Sqrt(work.Steepest) + Math.Sqrt(along));
        foreach (ref float kappa in work.Kappa)
        {
            kappa *= 1 / work.Total;
        }
    }

    /// <summary>Adds a block's share of M = sum kappa T.</summary>
    public void AddScatters(int block)
    {
        int depths = summaries.Tree.Depths;
        for (int depth = 0; depth < depths; depth++)
        {
            float factor = work.Kappa[(block * depths) + depth];
            if (factor > 0)
            {
                RowVectors.AddScaled(summaries.Scatter(block, depth), factor, MemoryMarshal.Cast<float, Vector512<float>>(work.Scatter));
            }
        }
    }
}
