using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Subquartic.Attention;

/// <summary>Sums over rows of keys and values that certified attention needs, in float32. Rows are padded with zeros to whole
/// vectors of <see cref="Lanes"/> values.</summary>
/// <remarks>Processors with narrower vectors run the same code in pieces.</remarks>
internal static class RowVectors
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

    /// <summary>moved = source - shift and weighed = weight * moved, without padding.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void ShiftAndWeigh(ReadOnlySpan<float> source, ReadOnlySpan<float> shift, float weight, Span<float> moved, Span<float> weighed)
    {
        Vector512<float> factor = Vector512.Create(weight);
        int j = 0;
        for (; j + Lanes <= source.Length; j += Lanes)
        {
            Vector512<float> value = Vector512.Create(source.Slice(j, Lanes)) - Vector512.Create(shift.Slice(j, Lanes));
            value.CopyTo(moved.Slice(j, Lanes));
            (value * factor).CopyTo(weighed.Slice(j, Lanes));
        }

        for (; j < source.Length; j++)
        {
            moved[j] = source[j] - shift[j];
            weighed[j] = moved[j] * weight;
        }
    }

    /// <summary>sum += row, least = min(least, row), most = max(most, row); poison becomes NaN when a value is not finite.
    /// Returns the sum of the squares.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Measure(ReadOnlySpan<float> row, Span<float> sum, Span<float> least, Span<float> most, ref float poison)
    {
        Vector512<float> squares = default, bad = default;
        int j = 0;
        for (; j + Lanes <= row.Length; j += Lanes)
        {
            Vector512<float> value = Vector512.Create(row.Slice(j, Lanes));
            (Vector512.Create<float>(sum.Slice(j, Lanes)) + value).CopyTo(sum.Slice(j, Lanes));
            Vector512.MinNative(Vector512.Create<float>(least.Slice(j, Lanes)), value).CopyTo(least.Slice(j, Lanes));
            Vector512.MaxNative(Vector512.Create<float>(most.Slice(j, Lanes)), value).CopyTo(most.Slice(j, Lanes));
            squares = Vector512.MultiplyAddEstimate(value, value, squares);
            bad += value * Vector512<float>.Zero;
        }

        float rest = 0;
        for (; j < row.Length; j++)
        {
            float value = row[j];
            sum[j] += value;
            least[j] = Math.Min(least[j], value);
            most[j] = Math.Max(most[j], value);
            rest += value * value;
            poison += value * 0;
        }

        poison += Vector512.Sum(bad);
        return Vector512.Sum(squares) + rest;
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

    /// <summary>|x|^2 and |x - y|^2 of padded rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Lengths(ReadOnlySpan<float> x, ReadOnlySpan<float> y, out float length, out float distance)
    {
        ReadOnlySpan<Vector512<float>> a = MemoryMarshal.Cast<float, Vector512<float>>(x), b = MemoryMarshal.Cast<float, Vector512<float>>(y);
        Vector512<float> squares = default, differences = default;
        for (int c = 0; c < a.Length; c++)
        {
            Vector512<float> d = a[c] - b[c];
            squares = Vector512.MultiplyAddEstimate(a[c], a[c], squares);
            differences = Vector512.MultiplyAddEstimate(d, d, differences);
        }

        (length, distance) = (Vector512.Sum(squares), Vector512.Sum(differences));
    }

    /// <summary>The largest lane.</summary>
    public static float Largest(Vector512<float> x)
    {
        Vector256<float> half = Vector256.MaxNative(x.GetLower(), x.GetUpper());
        Vector128<float> four = Vector128.MaxNative(half.GetLower(), half.GetUpper());
        return Math.Max(Math.Max(four[0], four[1]), Math.Max(four[2], four[3]));
    }

    /// <summary>Sums of squared distances of padded rows from a centre, by groups the largest of their columns. Returns the largest
    /// squared distance of a row.</summary>
    /// <param name="rows">Padded rows.</param>
    /// <param name="centre">A padded row.</param>
    /// <param name="squares">One sum a column, overwritten.</param>
    /// <param name="groups">The largest sum of each group.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Spread(ReadOnlySpan<float> rows, ReadOnlySpan<float> centre, Span<float> squares, out Vector512<float> groups)
    {
        ReadOnlySpan<Vector512<float>> x = MemoryMarshal.Cast<float, Vector512<float>>(rows);
        ReadOnlySpan<Vector512<float>> middle = MemoryMarshal.Cast<float, Vector512<float>>(centre);
        Span<Vector512<float>> s = MemoryMarshal.Cast<float, Vector512<float>>(squares);
        s.Clear();
        float largest = 0;
        int stride = middle.Length;
        for (int at = 0; at < x.Length; at += stride)
        {
            Vector512<float> total = default;
            for (int c = 0; c < middle.Length; c++)
            {
                Vector512<float> d = x[at + c] - middle[c];
                Vector512<float> square = d * d;
                s[c] += square;
                total += square;
            }

            largest = Math.Max(largest, Vector512.Sum(total));
        }

        groups = default;
        foreach (Vector512<float> sum in s)
        {
            groups = Vector512.MaxNative(groups, sum);
        }

        return largest;
    }

    /// <summary>The largest |x|; 0 for nothing.</summary>
    public static float LargestMagnitude(ReadOnlySpan<float> x) => x.IsEmpty ? 0 : Math.Abs(TensorPrimitives.MaxMagnitude(x));
}
