using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>Sums over rows of keys and values that certified attention needs, in float32. Rows are padded with zeros to whole
/// vectors of <see cref="Lanes"/> values.</summary>
/// <remarks>Processors with narrower vectors run the same code in pieces.</remarks>
internal static partial class RowVectors
{
    /// <summary>Values in a vector.</summary>
    public const int Lanes = 16;

    /// <summary>A width rounded up to whole vectors.</summary>
    public static int Padded(int width) => (width + Lanes - 1) / Lanes * Lanes;

    /// <summary>target = scale * source - shift, padded with zeros; returns the sum of its squares.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Shift(ReadOnlySpan<float> source, float scale, ReadOnlySpan<float> shift, Span<float> target)
    {
        Vector512<float> factor = Vector512.Create(scale), sum = default;
        int j = 0;
        for (; j + Lanes <= source.Length; j += Lanes)
        {
            Vector512<float> value = (factor * Vector512.Create(source.Slice(j, Lanes))) - Vector512.Create(shift.Slice(j, Lanes));
            value.CopyTo(target.Slice(j, Lanes));
            sum = Vector512.MultiplyAddEstimate(value, value, sum);
        }

        float rest = 0;
        for (; j < source.Length; j++)
        {
            float value = (scale * source[j]) - shift[j];
            target[j] = value;
            rest += value * value;
        }

        target[j..].Clear();
        return Vector512.Sum(sum) + rest;
    }

    /// <summary>Two of <see cref="WeightedSum"/> at once, for rows of four vectors each: what a key's centroid and its value are.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void WeightedSums(
        ReadOnlySpan<float> keys, ReadOnlySpan<float> values, ReadOnlySpan<float> weights, float factor, Span<float> key, Span<float> value)
    {
        if (key.Length != 4 * Lanes || value.Length != 4 * Lanes)
        {
            WeightedSum(keys, weights, factor, key);
            WeightedSum(values, weights, factor, value);
            return;
        }

        ref float x = ref MemoryMarshal.GetReference(keys[..(4 * Lanes * weights.Length)]), y = ref MemoryMarshal.GetReference(values[..(4 * Lanes * weights.Length)]);
        Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
        nuint at = 0;
        foreach (float weight in weights)
        {
            Vector512<float> w = Vector512.Create(weight);
            a0 = Vector512.MultiplyAddEstimate(Vector512.LoadUnsafe(ref x, at), w, a0);
            a1 = Vector512.MultiplyAddEstimate(Vector512.LoadUnsafe(ref x, at + Lanes), w, a1);
            a2 = Vector512.MultiplyAddEstimate(Vector512.LoadUnsafe(ref x, at + (2 * Lanes)), w, a2);
            a3 = Vector512.MultiplyAddEstimate(Vector512.LoadUnsafe(ref x, at + (3 * Lanes)), w, a3);
            b0 = Vector512.MultiplyAddEstimate(Vector512.LoadUnsafe(ref y, at), w, b0);
            b1 = Vector512.MultiplyAddEstimate(Vector512.LoadUnsafe(ref y, at + Lanes), w, b1);
            b2 = Vector512.MultiplyAddEstimate(Vector512.LoadUnsafe(ref y, at + (2 * Lanes)), w, b2);
            b3 = Vector512.MultiplyAddEstimate(Vector512.LoadUnsafe(ref y, at + (3 * Lanes)), w, b3);
            at += 4 * Lanes;
        }

        Vector512<float> all = Vector512.Create(factor);
        ref float u = ref MemoryMarshal.GetReference(key), v = ref MemoryMarshal.GetReference(value);
        (a0 * all).StoreUnsafe(ref u);
        (a1 * all).StoreUnsafe(ref u, Lanes);
        (a2 * all).StoreUnsafe(ref u, 2 * Lanes);
        (a3 * all).StoreUnsafe(ref u, 3 * Lanes);
        (b0 * all).StoreUnsafe(ref v);
        (b1 * all).StoreUnsafe(ref v, Lanes);
        (b2 * all).StoreUnsafe(ref v, 2 * Lanes);
        (b3 * all).StoreUnsafe(ref v, 3 * Lanes);
    }

    /// <summary>result = factor sum_t weights[t] rows[t] for padded rows, in order of t.</summary>
    /// <param name="rows">weights.Length rows.</param>
    /// <param name="weights">One weight a row.</param>
    /// <param name="factor">Multiplies the sum.</param>
    /// <param name="result">One padded row.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void WeightedSum(ReadOnlySpan<float> rows, ReadOnlySpan<float> weights, float factor, Span<float> result)
    {
        ReadOnlySpan<Vector512<float>> x = MemoryMarshal.Cast<float, Vector512<float>>(rows);
        Span<Vector512<float>> y = MemoryMarshal.Cast<float, Vector512<float>>(result);
        Vector512<float> all = Vector512.Create(factor);
        int stride = y.Length;
        int c = 0;
        for (; c + 4 <= stride; c += 4)
        {
            Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default;
            int at = c;
            for (int t = 0; t < weights.Length; t++, at += stride)
            {
                ReadOnlySpan<Vector512<float>> four = x.Slice(at, 4);
                Vector512<float> w = Vector512.Create(weights[t]);
                a0 = Vector512.MultiplyAddEstimate(four[0], w, a0);
                a1 = Vector512.MultiplyAddEstimate(four[1], w, a1);
                a2 = Vector512.MultiplyAddEstimate(four[2], w, a2);
                a3 = Vector512.MultiplyAddEstimate(four[3], w, a3);
            }

            y[c] = a0 * all;
            y[c + 1] = a1 * all;
            y[c + 2] = a2 * all;
            y[c + 3] = a3 * all;
        }

        for (; c < stride; c++)
        {
            Vector512<float> a = default;
            for (int t = 0; t < weights.Length; t++)
            {
                a = Vector512.MultiplyAddEstimate(x[(t * stride) + c], Vector512.Create(weights[t]), a);
            }

            y[c] = a * all;
        }
    }

    /// <summary>sum += factor * row for a padded row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void AddScaled(ReadOnlySpan<float> row, float factor, Span<Vector512<float>> sum)
    {
        ReadOnlySpan<Vector512<float>> x = MemoryMarshal.Cast<float, Vector512<float>>(row);
        Vector512<float> all = Vector512.Create(factor);
        for (int c = 0; c < sum.Length; c++)
        {
            sum[c] = Vector512.MultiplyAddEstimate(x[c], all, sum[c]);
        }
    }

    /// <summary>max |row - other| over the columns of each group: group g is columns g, g + 16, g + 32, …</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Far(ReadOnlySpan<float> row, ReadOnlySpan<Vector512<float>> other)
    {
        ReadOnlySpan<Vector512<float>> x = MemoryMarshal.Cast<float, Vector512<float>>(row);
        Vector512<float> far = default;
        for (int c = 0; c < other.Length; c++)
        {
            far = Vector512.MaxNative(far, Vector512.Abs(x[c] - other[c]));
        }

        return far;
    }

    /// <summary>sum += factor * x for padded rows; returns |x - y|^2 and gives |x - z|^2.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Place(ReadOnlySpan<float> x, float factor, ReadOnlySpan<float> y, ReadOnlySpan<float> z, Span<Vector512<float>> sum, out float other)
    {
        ReadOnlySpan<Vector512<float>> a = MemoryMarshal.Cast<float, Vector512<float>>(x), b = MemoryMarshal.Cast<float, Vector512<float>>(y);
        ReadOnlySpan<Vector512<float>> c = MemoryMarshal.Cast<float, Vector512<float>>(z);
        Vector512<float> near = default, far = default, all = Vector512.Create(factor);
        for (int i = 0; i < sum.Length; i++)
        {
            Vector512<float> value = a[i], d = value - b[i], e = value - c[i];
            sum[i] = Vector512.MultiplyAddEstimate(value, all, sum[i]);
            near = Vector512.MultiplyAddEstimate(d, d, near);
            far = Vector512.MultiplyAddEstimate(e, e, far);
        }

        other = Vector512.Sum(far);
        return Vector512.Sum(near);
    }

    /// <summary>The largest lane.</summary>
    public static float Largest(Vector512<float> x)
    {
        Vector256<float> half = Vector256.MaxNative(x.GetLower(), x.GetUpper());
        Vector128<float> four = Vector128.MaxNative(half.GetLower(), half.GetUpper());
        return Math.Max(Math.Max(four[0], four[1]), Math.Max(four[2], four[3]));
    }

    /// <summary>Sum of the squared distances of padded rows from a centre.</summary>
    /// <param name="rows">Padded rows.</param>
    /// <param name="centre">A padded row.</param>
    /// <param name="largest">The largest squared distance of a row.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Distances(ReadOnlySpan<float> rows, ReadOnlySpan<float> centre, out float largest)
    {
        ReadOnlySpan<Vector512<float>> middle = MemoryMarshal.Cast<float, Vector512<float>>(centre);
        float sum = 0;
        largest = 0;
        if (middle.Length == 4)
        {
            Vector512<float> m0 = middle[0], m1 = middle[1], m2 = middle[2], m3 = middle[3];
            ref float x = ref MemoryMarshal.GetReference(rows);
            for (nuint at = 0; at + (4 * Lanes) <= (nuint)rows.Length; at += 4 * Lanes)
            {
                Vector512<float> a = Vector512.LoadUnsafe(ref x, at) - m0, b = Vector512.LoadUnsafe(ref x, at + Lanes) - m1;
                Vector512<float> c = Vector512.LoadUnsafe(ref x, at + (2 * Lanes)) - m2, d = Vector512.LoadUnsafe(ref x, at + (3 * Lanes)) - m3;
                float square = Vector512.Sum(Vector512.MultiplyAddEstimate(a, a, b * b) + Vector512.MultiplyAddEstimate(c, c, d * d));
                sum += square;
                largest = Math.Max(largest, square);
            }

            return sum;
        }

        ReadOnlySpan<Vector512<float>> all = MemoryMarshal.Cast<float, Vector512<float>>(rows);
        for (int at = 0; at < all.Length; at += middle.Length)
        {
            Vector512<float> total = default;
            for (int c = 0; c < middle.Length; c++)
            {
                Vector512<float> d = all[at + c] - middle[c];
                total = Vector512.MultiplyAddEstimate(d, d, total);
            }

            float square = Vector512.Sum(total);
            sum += square;
            largest = Math.Max(largest, square);
        }

        return sum;
    }

    /// <summary>Sums of the squared distances of the columns of padded rows from a centre: of all columns together, and by groups the largest of a column.</summary>
    /// <param name="rows">Padded rows.</param>
    /// <param name="centre">A padded row.</param>
    /// <param name="groups">The largest sum of each group.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float ColumnDistances(ReadOnlySpan<float> rows, ReadOnlySpan<float> centre, out Vector512<float> groups)
    {
        ReadOnlySpan<Vector512<float>> x = MemoryMarshal.Cast<float, Vector512<float>>(rows), middle = MemoryMarshal.Cast<float, Vector512<float>>(centre);
        Vector512<float> sum = default;
        groups = default;
        int c = 0;
        for (; c + 4 <= middle.Length; c += 4)
        {
            Vector512<float> m0 = middle[c], m1 = middle[c + 1], m2 = middle[c + 2], m3 = middle[c + 3];
            Vector512<float> s0 = default, s1 = default, s2 = default, s3 = default;
            for (int at = c; at < x.Length; at += middle.Length)
            {
                ReadOnlySpan<Vector512<float>> row = x.Slice(at, 4);
                Vector512<float> d0 = row[0] - m0, d1 = row[1] - m1, d2 = row[2] - m2, d3 = row[3] - m3;
                s0 = Vector512.MultiplyAddEstimate(d0, d0, s0);
                s1 = Vector512.MultiplyAddEstimate(d1, d1, s1);
                s2 = Vector512.MultiplyAddEstimate(d2, d2, s2);
                s3 = Vector512.MultiplyAddEstimate(d3, d3, s3);
            }

            sum += (s0 + s1) + (s2 + s3);
            groups = Vector512.MaxNative(groups, Vector512.MaxNative(Vector512.MaxNative(s0, s1), Vector512.MaxNative(s2, s3)));
        }

        for (; c < middle.Length; c++)
        {
            Vector512<float> s = default;
            for (int at = c; at < x.Length; at += middle.Length)
            {
                Vector512<float> d = x[at] - middle[c];
                s = Vector512.MultiplyAddEstimate(d, d, s);
            }

            sum += s;
            groups = Vector512.MaxNative(groups, s);
        }

        return Vector512.Sum(sum);
    }

    /// <summary>The largest |x|; 0 for nothing.</summary>
    public static float LargestMagnitude(ReadOnlySpan<float> x) => x.IsEmpty ? 0 : Math.Abs(TensorPrimitives.MaxMagnitude(x));
}
