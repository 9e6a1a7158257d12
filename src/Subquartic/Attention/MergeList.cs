using System.Numerics.Tensors;
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
/// <param name="work">The cut, and the list: keys (L, c + 1), a key and the logarithm of its weight; values (L, at least padded c_v +
/// <see cref="Columns"/> + 1), a value and its certificate; and what the pilot's weights make of them, A_T.</param>
/// <param name="pilots">Products of all keys with q0, less the largest and at least -80.</param>
/// <param name="places">Products with the g: (Directions, S), each row as long as <paramref name="placeStride"/>; empty for a list without a certificate. They and the weights may be
/// read up to a vector behind their keys.</param>
/// <param name="placeStride">S.</param>
internal readonly ref struct MergeList(
    HeadMeasure head, KeySummaries summaries, MergeTile tile, MergeWorkspace work, ReadOnlySpan<float> pilots, ReadOnlySpan<float> places, int placeStride)
{
    /// <summary>First column, behind the values and those of &lt;phi h sd^2&gt; by groups of value columns, of &lt;phi S/h&gt;, row by row of the lower triangle.</summary>
    public const int Forms = RowVectors.Lanes;

    /// <summary>Column of &lt;phi R/h&gt;.</summary>
    public const int Rest = Forms + Pairs;

    /// <summary>Columns of the certificate.</summary>
    public const int Columns = Rest + 1;

    /// <summary>What <see cref="End"/> needs to know of an entry: phi, typical nu, largest weight of a key, place among the scatters, and the centroid's
    /// products with the g.</summary>
    public const int Notes = 4 + MergeTile.Directions;

    // Distances from A_T count more for h than for the sum of both orders, since the largest of all clusters counts in the second.
    private const float FarShare = 2;

    // How much of |u'|^2 R a typical E(u'.y)^2 is; a guess, for h.
    private const double RestShare = 0.1;

    private const int Pairs = MergeTile.Directions * (MergeTile.Directions + 1) / 2;

    private static ReadOnlySpan<float> Lanes => [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    private readonly ReadOnlySpan<float> _pilots = pilots;
    private readonly ReadOnlySpan<float> _places = places;
    private readonly ReadOnlySpan<float> _weights = work.Weights;

    /// <summary>Adds the entries of one block of the tree. Several tiles in turn add the same block while its keys are in the cache.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Add(int block)
    {
        KeyTree tree = summaries.Tree;
        Matrix keys = work.ListKeys, values = work.ListValues;
        int width = head.Keys.Columns, stride = summaries.ValueStride, largest = work.Largest, entry = work.Entries;
        bool certify = !_places.IsEmpty;
        using Scratch scratch = Scratch.Rent(summaries.KeyStride);
        Span<float> centroid = scratch.Buffer.Span(0, summaries.KeyStride), allKeys = keys.Span(), allValues = values.Span();
        Span<Vector512<float>> mean = MemoryMarshal.Cast<float, Vector512<float>>(work.Reference);
        Span<Vector512<float>> centre = MemoryMarshal.Cast<float, Vector512<float>>(work.Centre);
        float total = work.Total, largestBias = work.LargestBias;
        ReadOnlySpan<float> sums = work.Cut.Weights;
        ReadOnlySpan<int> nodes = work.Cut.Block(block);
        for (int i = 0; i < nodes.Length; i++)
        {
            int node = nodes[i];
            if (certify && i + 1 < nodes.Length && nodes[i + 1] >= 0)
            {
                summaries.Prefetch(nodes[i + 1]);
            }

            int start = tree.Start[node < 0 ? ~node : node], count = tree.Count[node < 0 ? ~node : node];
            if (node >= 0)
            {
                Span<float> key = allKeys.Slice(entry * keys.Columns, keys.Columns), value = allValues.Slice(entry * values.Columns, values.Columns);
                float sum = sums[node], inverse = 1 / sum;
                ReadOnlySpan<float> own = _weights.Slice(start, count);
                RowVectors.WeightedSums(summaries.KeyRows(start, count), summaries.ValueRows(start, count), own, inverse, centroid, value[..stride]);
                total += sum;
                centroid[..width].CopyTo(key);
                key[width] = MathF.Log(sum);
                largestBias = Math.Max(largestBias, Math.Abs(key[width]));
                if (certify)
                {
                    RowVectors.AddScaled(value[..stride], sum, mean);
                    RowVectors.AddScaled(centroid, sum, centre);
                    Certify(node, start, count, inverse, centroid, value[stride..], work.Notes.Slice(entry * Notes, Notes));
                    work.Notes[(entry * Notes) + 3] = (block * tree.Depths) + tree.Depth[node];
                }

                largest = Math.Max(largest, count);
                entry++;
                continue;
            }

            for (int t = start; t < start + count; t++, entry++)
            {
                Span<float> key = allKeys.Slice(entry * keys.Columns, keys.Columns), value = allValues.Slice(entry * values.Columns, values.Columns);
                summaries.KeyRows(t, 1)[..width].CopyTo(key);
                key[width] = _pilots[t];
                summaries.ValueRows(t, 1).CopyTo(value);
                if (certify)
                {
                    value[stride..].Clear();
                    work.Notes[entry * Notes] = 0;
                    RowVectors.AddScaled(value[..stride], _weights[t], mean);
                    RowVectors.AddScaled(summaries.KeyRows(t, 1), _weights[t], centre);
                }

                total += _weights[t];
                largestBias = Math.Max(largestBias, -_pilots[t]);
            }
        }

        (work.Entries, work.Total, work.Largest, work.LargestBias) = (entry, total, largest, largestBias);
    }

    /// <summary>Completes the certificate once all blocks are there: h, which needs A_T, and what the tile knows of all clusters together.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void End()
    {
        Matrix keys = work.ListKeys, values = work.ListValues;
        Span<float> allKeys = keys.Span(), allValues = values.Span(), centre = work.Centre;
        Span<Vector512<float>> mean = MemoryMarshal.Cast<float, Vector512<float>>(work.Reference);
        int stride = summaries.ValueStride, width = head.Keys.Columns;
        TensorPrimitives.Multiply(centre, 1 / work.Total, centre);
        for (int c = 0; c < mean.Length; c++)
        {
            mean[c] *= Vector512.Create(1 / work.Total);
        }

        Span<float> middle = stackalloc float[MergeTile.Directions];
        for (int k = 0; k < middle.Length; k++)
        {
            middle[k] = TensorPrimitives.Dot<float>(centre, tile.Pilots.Row(k + 1));
        }

        ReadOnlySpan<double> deviations = tile.Deviations;
        double slack = (ExactAttention.Gamma(work.Largest + 4) + (4 * ExactAttention.UnitRoundoff)) * head.LargestValue;
        Vector512<float> add = Vector512.Create((float)slack), tilts = default;
        float widest = 0, farthest = 0, steepest = 0;
        Span<float> kappa = work.Kappa;
        kappa.Clear();
        for (int i = 0; i < work.Entries; i++)
        {
            ReadOnlySpan<float> notes = work.Notes.Slice(i * Notes, Notes);
            float phi = notes[0], typical = notes[1];
            if (!(phi > 0))
            {
                continue;
            }

            Span<float> value = allValues.Slice(i * values.Columns, values.Columns), columns = value[stride..];
            Vector512<float> variances = Vector512.Create<float>(columns[..RowVectors.Lanes]);
            Vector512<float> far = RowVectors.Far(value[..stride], mean) + add;
            float deviation = MathF.Sqrt(Vector512.Sum(variances) / RowVectors.Lanes) + (FarShare * typical * Vector512.Sum(far) / (2 * RowVectors.Lanes));
            float h = (typical + 1e-30f) / (deviation + 1e-30f), over = phi / h;
            (variances * Vector512.Create(phi * h)).CopyTo(columns);
            TensorPrimitives.Multiply(columns.Slice(Forms, Pairs + 1), over, columns.Slice(Forms, Pairs + 1));
            tilts = Vector512.MaxNative(tilts, far * Vector512.Create(h));
            widest = Math.Max(widest, h);
            int place = (int)notes[3];
            kappa[place] = Math.Max(kappa[place], over * notes[2]);
            float apart = 0, reach = 0;
            ReadOnlySpan<float> key = allKeys.Slice(i * keys.Columns, width);
            apart = TensorPrimitives.Distance(key, centre[..width]);
            for (int k = 0; k < middle.Length; k++)
            {
                float along = (notes[4 + k] - middle[k]) * (float)deviations[k];
                reach += along * along;
            }

            farthest = Math.Max(farthest, apart);
            steepest = Math.Max(steepest, reach);
        }

        tilts.CopyTo(work.Tilts);
        (work.Widest, work.Farthest, work.Steepest) = (widest, farthest, MathF.Sqrt(steepest));
        TensorPrimitives.Multiply(kappa, 1 / work.Total, kappa);
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

    /// <summary>The certificate's columns of a merged node, still without h and phi: variances by groups, S and R.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Certify(int node, int start, int count, float inverse, ReadOnlySpan<float> centroid, Span<float> columns, Span<float> notes)
    {
        Span<float> forms = columns.Slice(Forms, Pairs);
        Measure(start, count, inverse, forms, notes[4..], out float most, out float reach);
        int width = head.Keys.Columns;
        double rho = Math.Max(1, count * (double)most) * (1 + 1e-5);
        double spread = (rho * summaries.KeySpread[node]) + 1e-44;
        double longest = summaries.LongestKey, eta = MergePath.ProjectionError(width) * longest, share = MergePath.Orthogonality(width);

        // (sqrt(a'Sa) + 2 eta |a|)^2 <= a'(1.001 S + 4004 eta^2 1)a; S itself is within 1e-4.
        double more = 4200 * eta * eta, trace = 0, along = 0;
        ReadOnlySpan<double> deviations = tile.Deviations;
        for (int i = 0, at = 0; i < MergeTile.Directions; i++)
        {
            for (int j = 0; j < i; j++, at++)
            {
                forms[at] = (float)(forms[at] * 1.0011);
            }

            trace += forms[at];
            double own = (forms[at] * 1.0011) + more;
            along += own * deviations[i] * deviations[i];
            forms[at++] = (float)own;
        }

        trace *= 1 - 1e-4;
        double rest = Math.Max(spread - Math.Max(0, trace - (4 * eta * Math.Sqrt(trace)) - (4 * eta * eta)), 0) + (share * spread);
        double radius = summaries.KeyRadius[node] + (Math.Sqrt(RowVectors.SquaredDistance(centroid, summaries.KeyPoint(node))) * (1 + 1e-4)) + (ExactAttention.Gamma(count + 4) * longest);
        double b = Math.Min(
            tile.LongestLength * radius,
            (Math.Sqrt(reach) * tile.Corner * (1 + 1e-4)) + (tile.LongestRest * radius) + (8 * eta * tile.LongestLength));
        (Vector512.Create(summaries.GroupVariances(node)) * Vector512.Create((float)rho)).CopyTo(columns);
        columns[Rest] = (float)rest;
        columns[Columns..].Clear();
        notes[0] = (float)(ExpRemainder.Phi(b) * (1 + 1e-6));
        notes[1] = (float)Math.Sqrt(along + (RestShare * rest * tile.MeanRest));
        notes[2] = most / inverse;
    }

    /// <summary>Covariance of the g.k (lower triangle) and their means, the largest share of the weights, and the largest
    /// |(deviation_i (z_i - mean z_i))|^2 of a node.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Measure(int start, int count, float inverse, Span<float> covariance, Span<float> means, out float share, out float reach)
    {
        Vector512<float> most = default, far = default;
        Vector512<float> m0 = default, m1 = default, m2 = default, m3 = default;
        for (int t = 0; t < count; t += RowVectors.Lanes)
        {
            Vector512<float> w = Weights(start, t, count);
            m0 += w * Place(0, start + t);
            m1 += w * Place(1, start + t);
            m2 += w * Place(2, start + t);
            m3 += w * Place(3, start + t);
            most = Vector512.MaxNative(most, w);
        }

        m0 = Vector512.Create(Vector512.Sum(m0) * inverse);
        m1 = Vector512.Create(Vector512.Sum(m1) * inverse);
        m2 = Vector512.Create(Vector512.Sum(m2) * inverse);
        m3 = Vector512.Create(Vector512.Sum(m3) * inverse);
        ReadOnlySpan<double> deviations = tile.Deviations;
        Vector512<float> r0 = Vector512.Create((float)deviations[0]), r1 = Vector512.Create((float)deviations[1]);
        Vector512<float> r2 = Vector512.Create((float)deviations[2]), r3 = Vector512.Create((float)deviations[3]);
        Vector512<float> s00 = default, s10 = default, s11 = default, s20 = default, s21 = default;
        Vector512<float> s22 = default, s30 = default, s31 = default, s32 = default, s33 = default;
        for (int t = 0; t < count; t += RowVectors.Lanes)
        {
            Vector512<float> w = Weights(start, t, count);
            Vector512<float> d0 = Place(0, start + t) - m0, d1 = Place(1, start + t) - m1;
            Vector512<float> d2 = Place(2, start + t) - m2, d3 = Place(3, start + t) - m3;
            Vector512<float> w0 = w * d0, w1 = w * d1, w2 = w * d2, w3 = w * d3;
            s00 += w0 * d0;
            s10 += w1 * d0;
            s11 += w1 * d1;
            s20 += w2 * d0;
            s21 += w2 * d1;
            s22 += w2 * d2;
            s30 += w3 * d0;
            s31 += w3 * d1;
            s32 += w3 * d2;
            s33 += w3 * d3;
            (d0, d1, d2, d3) = (d0 * r0, d1 * r1, d2 * r2, d3 * r3);
            Vector512<float> length = (d0 * d0) + (d1 * d1) + (d2 * d2) + (d3 * d3);
            far = Vector512.MaxNative(far, Vector512.ConditionalSelect(Inside(t, count), length, Vector512<float>.Zero));
        }

        (means[0], means[1], means[2], means[3]) = (m0[0], m1[0], m2[0], m3[0]);
        share = RowVectors.Largest(most) * inverse;
        reach = RowVectors.Largest(far);
        covariance[0] = Vector512.Sum(s00) * inverse;
        covariance[1] = Vector512.Sum(s10) * inverse;
        covariance[2] = Vector512.Sum(s11) * inverse;
        covariance[3] = Vector512.Sum(s20) * inverse;
        covariance[4] = Vector512.Sum(s21) * inverse;
        covariance[5] = Vector512.Sum(s22) * inverse;
        covariance[6] = Vector512.Sum(s30) * inverse;
        covariance[7] = Vector512.Sum(s31) * inverse;
        covariance[8] = Vector512.Sum(s32) * inverse;
        covariance[9] = Vector512.Sum(s33) * inverse;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Vector512<float> Place(int direction, int key) => Vector512.Create(_places.Slice((direction * placeStride) + key, RowVectors.Lanes));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Inside(int t, int count) =>
        Vector512.LessThan(Vector512.Create(Lanes), Vector512.Create((float)(count - t)));

    /// <summary>Weights from a place on, zero behind the node.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Vector512<float> Weights(int start, int t, int count) =>
        Vector512.ConditionalSelect(Inside(t, count), Vector512.Create(_weights.Slice(start + t, RowVectors.Lanes)), Vector512<float>.Zero);
}
