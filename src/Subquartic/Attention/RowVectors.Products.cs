using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Tensors;

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

    /// <summary>sum += X^T Y for rows of whole vectors, in order of the rows.</summary>
    /// <param name="x">X (T, c).</param>
    /// <param name="y">Y (T, d).</param>
    /// <param name="sum">(c, d).</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void AddProduct(Matrix x, Matrix y, Span<float> sum)
    {
        Span<Vector512<float>> sums = MemoryMarshal.Cast<float, Vector512<float>>(sum);
        int vectors = y.Columns / Lanes;
        ref float factors = ref Start(x, 0), rows = ref Start(y, 0);
        nuint xStride = (nuint)x.Stride, yStride = (nuint)y.Stride;
        for (int i = 0; i < x.Columns; i += 4)
        {
            int c = 0;
            for (; c + 4 <= vectors; c += 4)
            {
                Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default;
                Vector512<float> b0 = default, b1 = default, b2 = default, b3 = default;
                Vector512<float> c0 = default, c1 = default, c2 = default, c3 = default;
                Vector512<float> d0 = default, d1 = default, d2 = default, d3 = default;
                nuint at = (nuint)i, from = (nuint)(c * Lanes);
                for (int t = 0; t < x.Rows; t++, at += xStride, from += yStride)
                {
                    Vector512<float> y0 = Vector512.LoadUnsafe(ref rows, from), y1 = Vector512.LoadUnsafe(ref rows, from + Lanes);
                    Vector512<float> y2 = Vector512.LoadUnsafe(ref rows, from + (2 * Lanes)), y3 = Vector512.LoadUnsafe(ref rows, from + (3 * Lanes));
                    Vector512<float> f = Vector512.Create(Unsafe.Add(ref factors, at));
                    a0 = Vector512.MultiplyAddEstimate(y0, f, a0);
                    a1 = Vector512.MultiplyAddEstimate(y1, f, a1);
                    a2 = Vector512.MultiplyAddEstimate(y2, f, a2);
                    a3 = Vector512.MultiplyAddEstimate(y3, f, a3);
                    f = Vector512.Create(Unsafe.Add(ref factors, at + 1));
                    b0 = Vector512.MultiplyAddEstimate(y0, f, b0);
                    b1 = Vector512.MultiplyAddEstimate(y1, f, b1);
                    b2 = Vector512.MultiplyAddEstimate(y2, f, b2);
                    b3 = Vector512.MultiplyAddEstimate(y3, f, b3);
                    f = Vector512.Create(Unsafe.Add(ref factors, at + 2));
                    c0 = Vector512.MultiplyAddEstimate(y0, f, c0);
                    c1 = Vector512.MultiplyAddEstimate(y1, f, c1);
                    c2 = Vector512.MultiplyAddEstimate(y2, f, c2);
                    c3 = Vector512.MultiplyAddEstimate(y3, f, c3);
                    f = Vector512.Create(Unsafe.Add(ref factors, at + 3));
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
                    nuint at = (nuint)j, from = (nuint)(c * Lanes);
                    for (int t = 0; t < x.Rows; t++, at += xStride, from += yStride)
                    {
                        a = Vector512.MultiplyAddEstimate(Vector512.LoadUnsafe(ref rows, from), Vector512.Create(Unsafe.Add(ref factors, at)), a);
                    }

                    sums[(j * vectors) + c] += a;
                }
            }
        }
    }

    /// <summary>As <see cref="AddProduct"/> for X and Y of one width, but only the blocks of 16 x 16 along the diagonal.</summary>
    /// <param name="x">X (T, c).</param>
    /// <param name="y">Y (T, c).</param>
    /// <param name="sum">(c, 16): row i holds columns 16 (i / 16) and on.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void AddDiagonalProducts(Matrix x, Matrix y, Span<float> sum)
    {
        Span<Vector512<float>> sums = MemoryMarshal.Cast<float, Vector512<float>>(sum);
        for (int i = 0; i < x.Columns; i += 8)
        {
            AddEight(x, y, i, i / Lanes * Lanes, sums[i..], 1);
        }
    }

    /// <summary>Y = X M + bias for rows of whole vectors; the bias is added last.</summary>
    /// <param name="x">X (T, c).</param>
    /// <param name="m">M (c, d), rows without gaps.</param>
    /// <param name="bias">d values.</param>
    /// <param name="y">Y (T, d), overwritten.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Multiply(Matrix x, ReadOnlySpan<float> m, ReadOnlySpan<float> bias, Matrix y)
    {
        int vectors = y.Columns / Lanes, t = 0;
        ReadOnlySpan<Vector512<float>> offsets = MemoryMarshal.Cast<float, Vector512<float>>(bias);
        ref float factors = ref Start(x, 0), rows = ref MemoryMarshal.GetReference(m), results = ref Start(y, 0);
        nuint xStride = (nuint)x.Stride, yStride = (nuint)y.Stride, width = (nuint)y.Columns;
        for (; t + 4 <= x.Rows && vectors % 4 == 0; t += 4)
        {
            for (int c = 0; c < vectors; c += 4)
            {
                Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default;
                Vector512<float> b0 = default, b1 = default, b2 = default, b3 = default;
                Vector512<float> c0 = default, c1 = default, c2 = default, c3 = default;
                Vector512<float> d0 = default, d1 = default, d2 = default, d3 = default;
                nuint at = (nuint)t * xStride, from = (nuint)(c * Lanes);
                for (int k = 0; k < x.Columns; k++, at++, from += width)
                {
                    Vector512<float> y0 = Vector512.LoadUnsafe(ref rows, from), y1 = Vector512.LoadUnsafe(ref rows, from + Lanes);
                    Vector512<float> y2 = Vector512.LoadUnsafe(ref rows, from + (2 * Lanes)), y3 = Vector512.LoadUnsafe(ref rows, from + (3 * Lanes));
                    Vector512<float> f = Vector512.Create(Unsafe.Add(ref factors, at));
                    a0 = Vector512.MultiplyAddEstimate(y0, f, a0);
                    a1 = Vector512.MultiplyAddEstimate(y1, f, a1);
                    a2 = Vector512.MultiplyAddEstimate(y2, f, a2);
                    a3 = Vector512.MultiplyAddEstimate(y3, f, a3);
                    f = Vector512.Create(Unsafe.Add(ref factors, at + xStride));
                    b0 = Vector512.MultiplyAddEstimate(y0, f, b0);
                    b1 = Vector512.MultiplyAddEstimate(y1, f, b1);
                    b2 = Vector512.MultiplyAddEstimate(y2, f, b2);
                    b3 = Vector512.MultiplyAddEstimate(y3, f, b3);
                    f = Vector512.Create(Unsafe.Add(ref factors, at + (2 * xStride)));
                    c0 = Vector512.MultiplyAddEstimate(y0, f, c0);
                    c1 = Vector512.MultiplyAddEstimate(y1, f, c1);
                    c2 = Vector512.MultiplyAddEstimate(y2, f, c2);
                    c3 = Vector512.MultiplyAddEstimate(y3, f, c3);
                    f = Vector512.Create(Unsafe.Add(ref factors, at + (3 * xStride)));
                    d0 = Vector512.MultiplyAddEstimate(y0, f, d0);
                    d1 = Vector512.MultiplyAddEstimate(y1, f, d1);
                    d2 = Vector512.MultiplyAddEstimate(y2, f, d2);
                    d3 = Vector512.MultiplyAddEstimate(y3, f, d3);
                }

                nuint to = ((nuint)t * yStride) + (nuint)(c * Lanes);
                Vector512<float> o0 = offsets[c], o1 = offsets[c + 1], o2 = offsets[c + 2], o3 = offsets[c + 3];
                Store(ref results, to, a0 + o0, a1 + o1, a2 + o2, a3 + o3);
                Store(ref results, to + yStride, b0 + o0, b1 + o1, b2 + o2, b3 + o3);
                Store(ref results, to + (2 * yStride), c0 + o0, c1 + o1, c2 + o2, c3 + o3);
                Store(ref results, to + (3 * yStride), d0 + o0, d1 + o1, d2 + o2, d3 + o3);
            }
        }

        for (; t < x.Rows; t++)
        {
            for (int c = 0; c < vectors; c++)
            {
                Vector512<float> a = default;
                nuint at = (nuint)t * xStride, from = (nuint)(c * Lanes);
                for (int k = 0; k < x.Columns; k++, at++, from += width)
                {
                    a = Vector512.MultiplyAddEstimate(Vector512.LoadUnsafe(ref rows, from), Vector512.Create(Unsafe.Add(ref factors, at)), a);
                }

                (a + offsets[c]).StoreUnsafe(ref results, ((nuint)t * yStride) + (nuint)(c * Lanes));
            }
        }
    }

    /// <summary>sum += the rows of x times their weights, in their order; rows are whole vectors. Without weights all are 1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void AddRows(Matrix x, ReadOnlySpan<float> weights, Span<float> sum)
    {
        Span<Vector512<float>> sums = MemoryMarshal.Cast<float, Vector512<float>>(sum);
        ref float rows = ref Start(x, 0);
        nuint stride = (nuint)x.Stride;
        int c = 0;
        for (; c + 4 <= sums.Length; c += 4)
        {
            Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default;
            nuint at = (nuint)(c * Lanes);
            for (int t = 0; t < x.Rows; t++, at += stride)
            {
                Vector512<float> weight = weights.IsEmpty ? Vector512<float>.One : Vector512.Create(weights[t]);
                a0 = Vector512.MultiplyAddEstimate(Vector512.LoadUnsafe(ref rows, at), weight, a0);
                a1 = Vector512.MultiplyAddEstimate(Vector512.LoadUnsafe(ref rows, at + Lanes), weight, a1);
                a2 = Vector512.MultiplyAddEstimate(Vector512.LoadUnsafe(ref rows, at + (2 * Lanes)), weight, a2);
                a3 = Vector512.MultiplyAddEstimate(Vector512.LoadUnsafe(ref rows, at + (3 * Lanes)), weight, a3);
            }

            Add(sums.Slice(c, 4), a0, a1, a2, a3);
        }

        for (; c < sums.Length; c++)
        {
            Vector512<float> a = default;
            nuint at = (nuint)(c * Lanes);
            for (int t = 0; t < x.Rows; t++, at += stride)
            {
                Vector512<float> weight = weights.IsEmpty ? Vector512<float>.One : Vector512.Create(weights[t]);
                a = Vector512.MultiplyAddEstimate(Vector512.LoadUnsafe(ref rows, at), weight, a);
            }

            sums[c] += a;
        }
    }

    /// <summary>The products of padded rows with one of them.</summary>
    /// <param name="rows">Padded rows.</param>
    /// <param name="x">A padded row.</param>
    /// <param name="products">One for each row, overwritten.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Products(ReadOnlySpan<float> rows, ReadOnlySpan<float> x, Span<float> products)
    {
        ReadOnlySpan<Vector512<float>> all = MemoryMarshal.Cast<float, Vector512<float>>(rows), own = MemoryMarshal.Cast<float, Vector512<float>>(x);
        for (int t = 0; t < products.Length; t++)
        {
            ReadOnlySpan<Vector512<float>> row = all.Slice(t * own.Length, own.Length);
            Vector512<float> sum = default;
            for (int c = 0; c < row.Length; c++)
            {
                sum = Vector512.MultiplyAddEstimate(row[c], own[c], sum);
            }

            products[t] = Vector512.Sum(sum);
        }
    }

    /// <summary>target = x x for a symmetric matrix whose width is a multiple of 16.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Square(ReadOnlySpan<double> x, int width, Span<double> target)
    {
        ReadOnlySpan<Vector512<double>> rows = MemoryMarshal.Cast<double, Vector512<double>>(x);
        Span<Vector512<double>> results = MemoryMarshal.Cast<double, Vector512<double>>(target);
        int vectors = width / Vector512<double>.Count;
        for (int i = 0; i < width; i++)
        {
            for (int c = 0; c + 2 <= vectors; c += 2)
            {
                Vector512<double> a = default, b = default;
                for (int k = 0; k < width; k++)
                {
                    Vector512<double> factor = Vector512.Create(x[(i * width) + k]);
                    a = Vector512.MultiplyAddEstimate(rows[(k * vectors) + c], factor, a);
                    b = Vector512.MultiplyAddEstimate(rows[(k * vectors) + c + 1], factor, b);
                }

                (results[(i * vectors) + c], results[(i * vectors) + c + 1]) = (a, b);
            }
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

    /// <summary>Length of the upper triangle of a symmetric matrix in blocks of 16 x 16: rows 16 r and on hold columns 16 r and on, one row behind the other.</summary>
    /// <param name="width">c, a multiple of 16.</param>
    public static int TriangleLength(int width) => width * (width + Lanes) / 2;

    /// <summary>The upper triangle of X^T X is added, in order of the rows.</summary>
    /// <param name="x">X (T, c), rows of whole vectors.</param>
    /// <param name="triangle">Of <see cref="TriangleLength"/>.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void AddSquare(Matrix x, Span<float> triangle)
    {
        Span<Vector512<float>> sums = MemoryMarshal.Cast<float, Vector512<float>>(triangle);
        int vectors = x.Columns / Lanes, place = 0;
        for (int i = 0; i < x.Columns; i += 8)
        {
            int first = i / Lanes, width = vectors - first;
            for (int c = first; c < vectors; c++)
            {
                AddEight(x, x, i, c * Lanes, sums[(place + c - first)..], width);
            }

            place += 8 * width;
        }
    }

    /// <summary>The trace of a symmetric matrix.</summary>
    /// <param name="width">c.</param>
    /// <param name="triangle">Its upper triangle.</param>
    public static double Trace(int width, ReadOnlySpan<float> triangle)
    {
        double trace = 0;
        int row = 0;
        for (int i = 0; i < width; i++)
        {
            trace += triangle[row + (i % Lanes)];
            row += width - (i / Lanes * Lanes);
        }

        return trace;
    }

    /// <summary>x^T M x for a symmetric M.</summary>
    /// <param name="x">x (c), a multiple of 16.</param>
    /// <param name="triangle">Upper triangle of M: what is beyond the blocks on the diagonal counts twice.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float TriangleQuadratic(ReadOnlySpan<float> x, ReadOnlySpan<float> triangle)
    {
        ReadOnlySpan<Vector512<float>> rows = MemoryMarshal.Cast<float, Vector512<float>>(triangle), own = MemoryMarshal.Cast<float, Vector512<float>>(x);
        Vector512<float> all = default, beyond = default;
        int place = 0;
        for (int r = 0; r < own.Length; r++)
        {
            int width = own.Length - r;
            for (int c = 0; c < width; c++)
            {
                Vector512<float> even = default, odd = default;
                for (int i = 0; i < Lanes; i += 2)
                {
                    even = Vector512.MultiplyAddEstimate(rows[place + (i * width) + c], Vector512.Create(x[(r * Lanes) + i]), even);
                    odd = Vector512.MultiplyAddEstimate(rows[place + ((i + 1) * width) + c], Vector512.Create(x[(r * Lanes) + i + 1]), odd);
                }

                if (c == 0)
                {
                    all = Vector512.MultiplyAddEstimate(even + odd, own[r], all);
                }
                else
                {
                    beyond = Vector512.MultiplyAddEstimate(even + odd, own[r + c], beyond);
                }
            }

            place += Lanes * width;
        }

        return Vector512.Sum(all + beyond + beyond);
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

    /// <summary>Eight columns of X from i on, each times a vector of columns of Y from j on, summed over the rows and added to every so many vectors of a sum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddEight(Matrix x, Matrix y, int i, int j, Span<Vector512<float>> sum, int step)
    {
        ref float factors = ref Start(x, 0), rows = ref Start(y, 0);
        nuint xStride = (nuint)x.Stride, yStride = (nuint)y.Stride, at = (nuint)i, from = (nuint)j;
        Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default, a4 = default, a5 = default, a6 = default, a7 = default;
        for (int t = 0; t < x.Rows; t++, at += xStride, from += yStride)
        {
            Vector512<float> row = Vector512.LoadUnsafe(ref rows, from);
            a0 = Vector512.MultiplyAddEstimate(row, Vector512.Create(Unsafe.Add(ref factors, at)), a0);
            a1 = Vector512.MultiplyAddEstimate(row, Vector512.Create(Unsafe.Add(ref factors, at + 1)), a1);
            a2 = Vector512.MultiplyAddEstimate(row, Vector512.Create(Unsafe.Add(ref factors, at + 2)), a2);
            a3 = Vector512.MultiplyAddEstimate(row, Vector512.Create(Unsafe.Add(ref factors, at + 3)), a3);
            a4 = Vector512.MultiplyAddEstimate(row, Vector512.Create(Unsafe.Add(ref factors, at + 4)), a4);
            a5 = Vector512.MultiplyAddEstimate(row, Vector512.Create(Unsafe.Add(ref factors, at + 5)), a5);
            a6 = Vector512.MultiplyAddEstimate(row, Vector512.Create(Unsafe.Add(ref factors, at + 6)), a6);
            a7 = Vector512.MultiplyAddEstimate(row, Vector512.Create(Unsafe.Add(ref factors, at + 7)), a7);
        }

        sum[0] += a0;
        sum[step] += a1;
        sum[2 * step] += a2;
        sum[3 * step] += a3;
        sum[4 * step] += a4;
        sum[5 * step] += a5;
        sum[6 * step] += a6;
        sum[7 * step] += a7;
    }

    private static void Store(ref float target, nuint at, Vector512<float> a, Vector512<float> b, Vector512<float> c, Vector512<float> d)
    {
        a.StoreUnsafe(ref target, at);
        b.StoreUnsafe(ref target, at + Lanes);
        c.StoreUnsafe(ref target, at + (2 * Lanes));
        d.StoreUnsafe(ref target, at + (3 * Lanes));
    }

    private static void Add(Span<Vector512<float>> sum, Vector512<float> a, Vector512<float> b, Vector512<float> c, Vector512<float> d)
    {
        sum[0] += a;
        sum[1] += b;
        sum[2] += c;
        sum[3] += d;
    }
}
