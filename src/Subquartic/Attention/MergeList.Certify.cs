using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

// The certificate of the merged nodes of a block: what is summed over the keys of each, then bounds for eight nodes at once, then the columns.
internal readonly ref partial struct MergeList
{
    // Distances from A_T count more for h than for the sum of both orders, since the largest of all clusters counts in the second.
    private const float FarShare = 2;

    // How much of |u'|^2 R a typical E(u'.y)^2 is; a guess, for h.
    private const double RestShare = 0.1;

    // (sqrt(a'Sa) + 2 eta |a|)^2 <= a'(1.001 S + 4004 eta^2 1)a; S itself is within 1e-4.
    private const float FormUp = 1.0012f;

    private const double FormAdd = 4200;

    private static Vector512<float> Diagonal => Vector512.Create(1f, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0);

    private static Vector512<float> Triangle => Vector512.Create(1f, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0);

    private static Vector512<float> RestColumn => Vector512.Create(0f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0);

    /// <summary>Largest error of g.k.</summary>
    private double Eta => MergePath.ProjectionError(head.Keys.Columns) * summaries.LongestKey;

    /// <summary>Sums over the keys of a merged node: the covariance of the g.k, row by row of the lower triangle, and what <see cref="Bound"/> needs; returns its
    /// place among the notes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private int Describe(int node, int entry, int start, int count, float inverse, Span<float> forms)
    {
        MergeNotes notes = work.Notes;
        ReadOnlySpan<float> weights = work.Weights.Slice(start, count);
        ReadOnlySpan<Vector128<float>> places = MemoryMarshal.Cast<float, Vector128<float>>(work.Places).Slice(start, count);
        Vector128<float> mean = default, most = default;
        for (int t = 0; t < places.Length; t++)
        {
            Vector128<float> w = Vector128.Create(weights[t]);
            mean = Vector128.MultiplyAddEstimate(places[t], w, mean);
            most = Vector128.MaxNative(most, w);
        }

        mean *= inverse;
        Vector128<float> deviations = tile.DeviationVector, far = default;
        Vector128<float> s0 = default, s1 = default, s2 = default, s3 = default;
        for (int t = 0; t < places.Length; t++)
        {
            Vector128<float> d = places[t] - mean, w = d * weights[t];
            s0 = Vector128.MultiplyAddEstimate(Vector128.Shuffle(d, Vector128.Create(0, 0, 0, 0)), w, s0);
            s1 = Vector128.MultiplyAddEstimate(Vector128.Shuffle(d, Vector128.Create(1, 1, 1, 1)), w, s1);
            s2 = Vector128.MultiplyAddEstimate(Vector128.Shuffle(d, Vector128.Create(2, 2, 2, 2)), w, s2);
            s3 = Vector128.MultiplyAddEstimate(Vector128.Shuffle(d, Vector128.Create(3, 3, 3, 3)), w, s3);
            d *= deviations;
            far = Vector128.MaxNative(far, Vector128.Create(Vector128.Dot(d, d)));
        }

        (s0, s1, s2, s3) = (s0 * inverse, s1 * inverse, s2 * inverse, s3 * inverse);
        Vector128<float> own = Vector128.Create(s0[0], s1[1], s2[2], s3[3]);

        // Each row of the triangle overwrites what the one before it has to the right of the diagonal.
        s0.CopyTo(forms);
        s1.CopyTo(forms[1..]);
        s2.CopyTo(forms[3..]);
        s3.CopyTo(forms[6..]);
        int at = notes.Count++;
        (notes.Node[at], notes.Entry[at], notes.Keys[at]) = (node, entry, count);
        (notes.Most[at], notes.Rho[at]) = (most[0], (double)most[0] * inverse * count);
        (notes.Trace[at], notes.Along[at], notes.Reach[at]) = (Vector128.Sum(own), Vector128.Dot(own, deviations * deviations), far[0]);
        (notes.Spread[at], notes.Radius[at]) = (summaries.KeySpread[node], summaries.KeyRadius[node]);
        Vector128<float> step = (mean - work.OriginPlaces) * deviations;
        work.Steepest = Math.Max(work.Steepest, Vector128.Dot(step, step));
        return at;
    }

    /// <summary>rho, R, phi and a typical sqrt(E) of all nodes of the block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Bound()
    {
        MergeNotes notes = work.Notes;
        double longest = summaries.LongestKey, eta = Eta, more = FormAdd * eta * eta, spreads = 0;
        foreach (double deviation in tile.Deviations)
        {
            spreads += more * deviation * deviation;
        }

        Vector512<double> share = Vector512.Create(MergePath.Orthogonality(head.Keys.Columns)), length = Vector512.Create(tile.LongestLength);
        for (int i = 0; i < notes.Count; i += Vector512<double>.Count)
        {
            Vector512<double> rho = Vector512.Max(Vector512<double>.One, Of(notes.Rho, i)) * (1 + 1e-5);
            Vector512<double> spread = (rho * Of(notes.Spread, i)) + Vector512.Create(1e-44);

            // gamma_(m+8), doubled for the division by 1 - n u: how far the sums over m keys are off, the mean of z among them. S about another point than the mean is
            // the larger by the square of their distance.
            Vector512<double> gamma = (Of(notes.Keys, i) + Vector512.Create(8.0)) * (2 * ExactAttention.UnitRoundoff), drift = gamma * longest;
            Vector512<double> trace = Vector512.Max(Vector512<double>.Zero, (Of(notes.Trace, i) * (1 - 1e-4)) - (drift * drift));
            trace = Vector512.Max(Vector512<double>.Zero, trace - (Vector512.Sqrt(trace) * (4 * eta)) - Vector512.Create(4 * eta * eta));
            Vector512<double> rest = Vector512.Max(Vector512<double>.Zero, spread - trace) + (share * spread);
            Vector512<double> radius = Of(notes.Radius, i) + (Vector512.Sqrt(Of(notes.Apart, i)) * (1 + 1e-4)) + drift;
            Vector512<double> b = Vector512.Min(
                length * radius,
                (Vector512.Sqrt(Of(notes.Reach, i)) * (tile.Corner * (1 + 1e-4))) + (radius * tile.LongestRest) + (length * ((drift * 2) + Vector512.Create(8 * eta))));
            (ExpRemainder.Phi(b) * (1 + 1e-6)).CopyTo(notes.Phi, i);
            Vector512<double> along = (Of(notes.Along, i) * FormUp) + Vector512.Create(spreads);
            Vector512.Sqrt(along + (rest * (RestShare * tile.MeanRest))).CopyTo(notes.Typical, i);
            rho.CopyTo(notes.Rho, i);
            rest.CopyTo(notes.Rest, i);
        }

        static Vector512<double> Of(double[] column, int i) => Vector512.Create(column, i);
    }

    /// <summary>Chooses h and writes the columns of all merged nodes of the block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Weigh(int block)
    {
        MergeNotes notes = work.Notes;
        Matrix values = work.ListValues;
        Span<float> allValues = values.Span(), kappa = work.Kappa;
        ReadOnlySpan<Vector512<float>> reference = MemoryMarshal.Cast<float, Vector512<float>>(work.Reference);
        int stride = summaries.ValueStride, depths = summaries.Tree.Depths;
        double slack = (ExactAttention.Gamma(KeyTree.MaxCount + 4) + (4 * ExactAttention.UnitRoundoff)) * head.LargestValue;
        Vector512<float> add = Vector512.Create((float)slack), tilts = Vector512.Create<float>(work.Tilts);
        Vector512<float> more = Diagonal * (float)(FormAdd * Eta * Eta), triangle = Triangle * FormUp, restColumn = RestColumn;
        float widest = work.Widest;
        for (int i = 0; i < notes.Count; i++)
        {
            int node = notes.Node[i];
            Span<float> value = allValues.Slice(notes.Entry[i] * values.Columns, values.Columns), columns = value[stride..];
            float phi = (float)notes.Phi[i], typical = (float)notes.Typical[i];
            Vector512<float> variances = Vector512.Create(summaries.GroupVariances(node)) * (float)notes.Rho[i];
            Vector512<float> far = RowVectors.Far(value[..stride], reference) + add;
            float deviation = MathF.Sqrt(Vector512.Sum(variances) / RowVectors.Lanes) + (FarShare * typical * Vector512.Sum(far) / (2 * RowVectors.Lanes));
            float h = (typical + 1e-30f) / (deviation + 1e-30f), over = phi / h;
            (variances * (phi * h)).CopyTo(columns);
            Vector512<float> forms = (Vector512.Create<float>(columns.Slice(Forms, RowVectors.Lanes)) * triangle) + more + (restColumn * (float)notes.Rest[i]);
            (forms * over).CopyTo(columns[Forms..]);
            tilts = Vector512.MaxNative(tilts, far * h);
            widest = Math.Max(widest, h);
            int place = (block * depths) + summaries.Tree.Depth[node];
            kappa[place] = Math.Max(kappa[place], over * (float)notes.Most[i]);
        }

        tilts.CopyTo(work.Tilts);
        work.Widest = widest;
    }
}
