using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Tensors;

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

    /// <summary>Sums and extremes of the columns of some rows, and the largest sum of the squares of a row.</summary>
    /// <param name="x">The matrix.</param>
    /// <param name="first">First row.</param>
    /// <param name="squares">One place a row.</param>
    /// <param name="sum">One a column, overwritten, as are the next two.</param>
    /// <param name="least">Least values.</param>
    /// <param name="most">Largest values.</param>
    /// <param name="poison">Becomes NaN when a value is not finite.</param>
    /// <returns>The largest sum; NaN and infinity stay.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Measure(
        Matrix x, int first, Span<float> squares, Span<float> sum, Span<float> least, Span<float> most, ref float poison)
    {
        squares.Clear();
        Vector512<float> bad = default;
        int j = 0, width = x.Columns;
        for (; j + (2 * Lanes) <= width; j += 2 * Lanes)
        {
            Vector512<float> s0 = default, s1 = default;
            Vector512<float> l0 = Vector512.Create(float.PositiveInfinity), l1 = l0, m0 = -l0, m1 = m0;
            for (int t = 0; t < squares.Length; t++)
            {
                ReadOnlySpan<float> row = x.Row(first + t).Slice(j, 2 * Lanes);
                Vector512<float> a = Vector512.Create(row[..Lanes]), b = Vector512.Create(row[Lanes..]);
                s0 += a;
                s1 += b;
                l0 = Vector512.MinNative(l0, a);
                l1 = Vector512.MinNative(l1, b);
                m0 = Vector512.MaxNative(m0, a);
                m1 = Vector512.MaxNative(m1, b);
                squares[t] += Vector512.Sum(Vector512.MultiplyAddEstimate(a, a, b * b));
                bad += (a + b) * Vector512<float>.Zero; // opposite infinities give NaN as well
            }

            s0.CopyTo(sum.Slice(j, Lanes));
            s1.CopyTo(sum.Slice(j + Lanes, Lanes));
            l0.CopyTo(least.Slice(j, Lanes));
            l1.CopyTo(least.Slice(j + Lanes, Lanes));
            m0.CopyTo(most.Slice(j, Lanes));
            m1.CopyTo(most.Slice(j + Lanes, Lanes));
        }

        poison += Vector512.Sum(bad);
        for (; j < width; j++)
        {
            (sum[j], least[j], most[j]) = (0, float.PositiveInfinity, float.NegativeInfinity);
            for (int t = 0; t < squares.Length; t++)
            {
                float value = x.Row(first + t)[j];
                sum[j] += value;
                least[j] = Math.Min(least[j], value);
                most[j] = Math.Max(most[j], value);
                squares[t] += value * value;
                poison += value * 0;
            }
        }

        float longest = 0;
        foreach (float square in squares)
        {
            longest = Math.Max(longest, square);
        }

        return longest;
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

        ReadOnlySpan<Vector512<float>> x = MemoryMarshal.Cast<float, Vector512<float>>(keys), y = MemoryMarshal.Cast<float, Vector512<float>>(values);
        Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
        for (int t = 0; t < weights.Length; t++)
        {
            ReadOnlySpan<Vector512<float>> a = x.Slice(4 * t, 4), b = y.Slice(4 * t, 4);
            Vector512<float> w = Vector512.Create(weights[t]);
            a0 = Vector512.MultiplyAddEstimate(a[0], w, a0);
            a1 = Vector512.MultiplyAddEstimate(a[1], w, a1);
            a2 = Vector512.MultiplyAddEstimate(a[2], w, a2);
            a3 = Vector512.MultiplyAddEstimate(a[3], w, a3);
            b0 = Vector512.MultiplyAddEstimate(b[0], w, b0);
            b1 = Vector512.MultiplyAddEstimate(b[1], w, b1);
            b2 = Vector512.MultiplyAddEstimate(b[2], w, b2);
            b3 = Vector512.MultiplyAddEstimate(b[3], w, b3);
        }

        Vector512<float> all = Vector512.Create(factor);
        Span<Vector512<float>> u = MemoryMarshal.Cast<float, Vector512<float>>(key), v = MemoryMarshal.Cast<float, Vector512<float>>(value);
        (u[0], u[1], u[2], u[3]) = (a0 * all, a1 * all, a2 * all, a3 * all);
        (v[0], v[1], v[2], v[3]) = (b0 * all, b1 * all, b2 * all, b3 * all);
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

    /// <summary>|x - y|^2 of padded rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float SquaredDistance(ReadOnlySpan<float> x, ReadOnlySpan<float> y)
    {
        ReadOnlySpan<Vector512<float>> a = MemoryMarshal.Cast<float, Vector512<float>>(x), b = MemoryMarshal.Cast<float, Vector512<float>>(y);
        Vector512<float> squares = default;
        for (int c = 0; c < a.Length; c++)
        {
            Vector512<float> d = a[c] - b[c];
            squares = Vector512.MultiplyAddEstimate(d, d, squares);
        }

        return Vector512.Sum(squares);
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

    /// <summary>sum += X^T Y for padded rows, in order of the rows.</summary>
    /// <param name="x">X (T, padded).</param>
    /// <param name="xStride">Length of a row of X.</param>
    /// <param name="y">Y (T, padded).</param>
    /// <param name="yStride">Length of a row of Y.</param>
    /// <param name="sum">(xStride, yStride).</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void AddProduct(ReadOnlySpan<float> x, int xStride, ReadOnlySpan<float> y, int yStride, Span<float> sum)
    {
        ReadOnlySpan<Vector512<float>> rows = MemoryMarshal.Cast<float, Vector512<float>>(y);
        Span<Vector512<float>> sums = MemoryMarshal.Cast<float, Vector512<float>>(sum);
        int vectors = yStride / Lanes, count = x.Length / xStride;
        for (int i = 0; i < xStride; i += 4)
        {
            int c = 0;
            for (; c + 4 <= vectors; c += 4)
            {
                Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default;
                Vector512<float> b0 = default, b1 = default, b2 = default, b3 = default;
                Vector512<float> c0 = default, c1 = default, c2 = default, c3 = default;
                Vector512<float> d0 = default, d1 = default, d2 = default, d3 = default;
                for (int t = 0; t < count; t++)
                {
                    ReadOnlySpan<Vector512<float>> row = rows.Slice((t * vectors) + c, 4);
                    ReadOnlySpan<float> factors = x.Slice((t * xStride) + i, 4);
                    Vector512<float> y0 = row[0], y1 = row[1], y2 = row[2], y3 = row[3];
                    Vector512<float> f = Vector512.Create(factors[0]);
                    a0 = Vector512.MultiplyAddEstimate(y0, f, a0);
                    a1 = Vector512.MultiplyAddEstimate(y1, f, a1);
                    a2 = Vector512.MultiplyAddEstimate(y2, f, a2);
                    a3 = Vector512.MultiplyAddEstimate(y3, f, a3);
                    f = Vector512.Create(factors[1]);
                    b0 = Vector512.MultiplyAddEstimate(y0, f, b0);
                    b1 = Vector512.MultiplyAddEstimate(y1, f, b1);
                    b2 = Vector512.MultiplyAddEstimate(y2, f, b2);
                    b3 = Vector512.MultiplyAddEstimate(y3, f, b3);
                    f = Vector512.Create(factors[2]);
                    c0 = Vector512.MultiplyAddEstimate(y0, f, c0);
                    c1 = Vector512.MultiplyAddEstimate(y1, f, c1);
                    c2 = Vector512.MultiplyAddEstimate(y2, f, c2);
                    c3 = Vector512.MultiplyAddEstimate(y3, f, c3);
                    f = Vector512.Create(factors[3]);
                    d0 = Vector512.MultiplyAddEstimate(y0, f, d0);
                    d1 = Vector512.MultiplyAddEstimate(y1, f, d1);
                    d2 = Vector512.MultiplyAddEstimate(y2, f, d2);
                    d3 = Vector512.MultiplyAddEstimate(y3, f, d3);
                }

                Add(sums.Slice((i * vectors) + c, 4), a0, a1, a2, a3);
                Add(sums.Slice(((i + 1) * vectors) + c, 4), b0, b1, b2, b3);
                Add(sums.Slice(((i + 2) * vectors) + c, 4), c0, c1, c2, c3);
                Add(sums.Slice(((i + 3) * vectors) + c, 4), d0, d1, d2, d3);
            }

            for (; c < vectors; c++)
            {
                for (int j = i; j < i + 4; j++)
                {
                    Vector512<float> a = default;
                    for (int t = 0; t < count; t++)
                    {
                        a = Vector512.MultiplyAddEstimate(rows[(t * vectors) + c], Vector512.Create(x[(t * xStride) + j]), a);
                    }

                    sums[(j * vectors) + c] += a;
                }
            }
        }
    }

    /// <summary>As <see cref="AddProduct"/> for X and Y of one width, but only the blocks of 16 x 16 along the diagonal.</summary>
    /// <param name="x">X (T, padded).</param>
    /// <param name="y">Y (T, padded).</param>
    /// <param name="stride">Length of their rows.</param>
    /// <param name="sum">(stride, 16): row i holds columns 16 (i / 16) and on.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void AddDiagonalProducts(ReadOnlySpan<float> x, ReadOnlySpan<float> y, int stride, Span<float> sum)
    {
        ReadOnlySpan<Vector512<float>> rows = MemoryMarshal.Cast<float, Vector512<float>>(y);
        Span<Vector512<float>> sums = MemoryMarshal.Cast<float, Vector512<float>>(sum);
        int vectors = stride / Lanes, count = x.Length / stride;
        for (int i = 0; i < stride; i += 8)
        {
            int c = i / Lanes;
            Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default, a4 = default, a5 = default, a6 = default, a7 = default;
            for (int t = 0; t < count; t++)
            {
                ReadOnlySpan<float> factors = x.Slice((t * stride) + i, 8);
                Vector512<float> row = rows[(t * vectors) + c];
                a0 = Vector512.MultiplyAddEstimate(row, Vector512.Create(factors[0]), a0);
                a1 = Vector512.MultiplyAddEstimate(row, Vector512.Create(factors[1]), a1);
                a2 = Vector512.MultiplyAddEstimate(row, Vector512.Create(factors[2]), a2);
                a3 = Vector512.MultiplyAddEstimate(row, Vector512.Create(factors[3]), a3);
                a4 = Vector512.MultiplyAddEstimate(row, Vector512.Create(factors[4]), a4);
                a5 = Vector512.MultiplyAddEstimate(row, Vector512.Create(factors[5]), a5);
                a6 = Vector512.MultiplyAddEstimate(row, Vector512.Create(factors[6]), a6);
                a7 = Vector512.MultiplyAddEstimate(row, Vector512.Create(factors[7]), a7);
            }

            Add(sums.Slice(i, 4), a0, a1, a2, a3);
            Add(sums.Slice(i + 4, 4), a4, a5, a6, a7);
        }
    }

    /// <summary>sum += the rows of x, in their order; rows are as long as the sum, whole vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void AddRows(ReadOnlySpan<float> x, Span<float> sum)
    {
        ReadOnlySpan<Vector512<float>> rows = MemoryMarshal.Cast<float, Vector512<float>>(x);
        Span<Vector512<float>> sums = MemoryMarshal.Cast<float, Vector512<float>>(sum);
        for (int c = 0; c < sums.Length; c++)
        {
            Vector512<float> all = default;
            for (int at = c; at < rows.Length; at += sums.Length)
            {
                all += rows[at];
            }

            sums[c] += all;
        }
    }

    /// <summary>sum += x in double; whole vectors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void AddWidened(ReadOnlySpan<float> x, Span<double> sum)
    {
        ReadOnlySpan<Vector512<float>> from = MemoryMarshal.Cast<float, Vector512<float>>(x);
        Span<Vector512<double>> to = MemoryMarshal.Cast<double, Vector512<double>>(sum);
        for (int i = 0; i < from.Length; i++)
        {
            (Vector512<double> lower, Vector512<double> upper) = Vector512.Widen(from[i]);
            to[2 * i] += lower;
            to[(2 * i) + 1] += upper;
        }
    }

    /// <summary>x^T M x for a symmetric M of padded rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Quadratic(ReadOnlySpan<float> x, ReadOnlySpan<float> m)
    {
        ReadOnlySpan<Vector512<float>> rows = MemoryMarshal.Cast<float, Vector512<float>>(m), own = MemoryMarshal.Cast<float, Vector512<float>>(x);
        int vectors = own.Length;
        Vector512<float> all = default;
        for (int c = 0; c < vectors; c++)
        {
            Vector512<float> even = default, odd = default;
            for (int i = 0; i < x.Length; i += 2)
            {
                even = Vector512.MultiplyAddEstimate(rows[(i * vectors) + c], Vector512.Create(x[i]), even);
                odd = Vector512.MultiplyAddEstimate(rows[((i + 1) * vectors) + c], Vector512.Create(x[i + 1]), odd);
            }

            all = Vector512.MultiplyAddEstimate(even + odd, own[c], all);
        }

        return Vector512.Sum(all);
    }

    private static void Add(Span<Vector512<float>> sum, Vector512<float> a, Vector512<float> b, Vector512<float> c, Vector512<float> d)
    {
        sum[0] += a;
        sum[1] += b;
        sum[2] += c;
        sum[3] += d;
    }

    /// <summary>The largest sum of the squares of a row, 0 without rows; NaN and infinity stay.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float LongestSquare(Matrix x)
    {
        float longest = 0;
        for (int row = 0; row < x.Rows; row++)
        {
            ReadOnlySpan<float> values = x.Row(row);
            Vector512<float> sum = default;
            int j = 0;
            for (; j + Lanes <= values.Length; j += Lanes)
            {
                Vector512<float> value = Vector512.Create(values.Slice(j, Lanes));
                sum = Vector512.MultiplyAddEstimate(value, value, sum);
            }

            float rest = Vector512.Sum(sum);
            for (; j < values.Length; j++)
            {
                rest += values[j] * values[j];
            }

            longest = Math.Max(longest, rest);
        }

        return longest;
    }

    /// <summary>The largest |x| of a matrix, 0 for nothing; NaN when a value is not finite.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float LargestMagnitude(Matrix x)
    {
        Vector512<float> most = default, more = default, bad = default, worse = default;
        float largest = 0, poison = 0;
        for (int row = 0; row < x.Rows; row++)
        {
            ReadOnlySpan<float> values = x.Row(row);
            int j = 0;
            for (; j + (2 * Lanes) <= values.Length; j += 2 * Lanes)
            {
                Vector512<float> a = Vector512.Create(values.Slice(j, Lanes)), b = Vector512.Create(values.Slice(j + Lanes, Lanes));
                most = Vector512.MaxNative(most, Vector512.Abs(a));
                more = Vector512.MaxNative(more, Vector512.Abs(b));
                bad += a * Vector512<float>.Zero;
                worse += b * Vector512<float>.Zero;
            }

            for (; j < values.Length; j++)
            {
                largest = Math.Max(largest, Math.Abs(values[j]));
                poison += values[j] * 0;
            }
        }

        most = Vector512.MaxNative(most, more);
        bad += worse;
        return Math.Max(largest, Largest(most)) + Vector512.Sum(bad) + poison;
    }

    /// <summary>The largest |x|; 0 for nothing.</summary>
    public static float LargestMagnitude(ReadOnlySpan<float> x) => x.IsEmpty ? 0 : Math.Abs(TensorPrimitives.MaxMagnitude(x));
}
