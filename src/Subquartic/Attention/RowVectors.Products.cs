using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Subquartic.Attention;

// Products of matrices of padded rows.
internal static partial class RowVectors
{
    /// <summary>sums = sum over the rows x of (x.g) x for each of four directions g.</summary>
    /// <param name="rows">Padded rows.</param>
    /// <param name="directions">Four padded rows g.</param>
    /// <param name="sums">Four padded rows, overwritten.</param>
    /// <param name="stride">Length of a row.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void AddProjections(ReadOnlySpan<float> rows, ReadOnlySpan<float> directions, Span<float> sums, int stride)
    {
        ReadOnlySpan<Vector512<float>> x = MemoryMarshal.Cast<float, Vector512<float>>(rows), g = MemoryMarshal.Cast<float, Vector512<float>>(directions);
        Span<Vector512<float>> s = MemoryMarshal.Cast<float, Vector512<float>>(sums);
        int n = stride / Lanes;
        ReadOnlySpan<Vector512<float>> g0 = g[..n], g1 = g.Slice(n, n), g2 = g.Slice(2 * n, n), g3 = g.Slice(3 * n, n);
        Span<Vector512<float>> s0 = s[..n], s1 = s.Slice(n, n), s2 = s.Slice(2 * n, n), s3 = s.Slice(3 * n, n);
        s[..(4 * n)].Clear();
        for (int at = 0; at < x.Length; at += n)
        {
            ReadOnlySpan<Vector512<float>> row = x.Slice(at, n);
            Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default;
            for (int c = 0; c < row.Length; c++)
            {
                a0 = Vector512.MultiplyAddEstimate(row[c], g0[c], a0);
                a1 = Vector512.MultiplyAddEstimate(row[c], g1[c], a1);
                a2 = Vector512.MultiplyAddEstimate(row[c], g2[c], a2);
                a3 = Vector512.MultiplyAddEstimate(row[c], g3[c], a3);
            }

            a0 = Vector512.Create(Vector512.Sum(a0));
            a1 = Vector512.Create(Vector512.Sum(a1));
            a2 = Vector512.Create(Vector512.Sum(a2));
            a3 = Vector512.Create(Vector512.Sum(a3));
            for (int c = 0; c < row.Length; c++)
            {
                s0[c] = Vector512.MultiplyAddEstimate(row[c], a0, s0[c]);
                s1[c] = Vector512.MultiplyAddEstimate(row[c], a1, s1[c]);
                s2[c] = Vector512.MultiplyAddEstimate(row[c], a2, s2[c]);
                s3[c] = Vector512.MultiplyAddEstimate(row[c], a3, s3[c]);
            }
        }
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
}
