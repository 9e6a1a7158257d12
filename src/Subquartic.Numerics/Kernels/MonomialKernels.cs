using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Numerics.Kernels;

/// <summary>The work of low-rank attention on each token: its monomials, their products with values, and with moments. These products are far too narrow
/// for the general matrix product, which fills up whole panels of columns.</summary>
/// <remarks>Lanes are tokens, <see cref="Tokens"/> of them at a time, so all matrices here have rows of that length. Processors with narrower
/// vectors run the same code in pieces. A result does not depend on which tokens share a block, but for the order of the sums over tokens.</remarks>
public static unsafe class MonomialKernels
{
    /// <summary>Tokens of a block.</summary>
    public const int Tokens = 128;

    /// <summary>Columns are handled so many at a time; their number is a multiple of it.</summary>
    public const int ColumnTile = 3;

    /// <summary>Monomials are handled so many at a time where tokens are summed; rows up to a multiple of it are read.</summary>
    public const int FeatureTile = 6;

    private const int Lanes = 16;
    private const int TileSums = ColumnTile * FeatureTile * Lanes;

    /// <summary>The number of columns that hold so many, in whole tiles.</summary>
    /// <param name="columns">Number of columns.</param>
    /// <returns>The next multiple of <see cref="ColumnTile"/>.</returns>
    public static int WholeTiles(int columns) => (columns + ColumnTile - 1) / ColumnTile * ColumnTile;

    /// <summary>Copies rows into lanes: lanes[l, t] = rows[start + t, l]. Lanes beyond the last row become 0.</summary>
    /// <param name="rows">(N, d).</param>
    /// <param name="start">First row.</param>
    /// <param name="count">Number of rows, at most <see cref="Tokens"/>.</param>
    /// <param name="lanes">(d, Tokens).</param>
    public static void Gather(Matrix rows, int start, int count, Span<float> lanes) => Gather(rows, start, [], count, lanes);

    /// <summary>Copies chosen rows into lanes: lanes[l, t] = rows[indices[t], l]. Lanes beyond the last become 0.</summary>
    /// <param name="rows">(N, d).</param>
    /// <param name="indices">The rows, at most <see cref="Tokens"/>.</param>
    /// <param name="lanes">(d, Tokens).</param>
    public static void Gather(Matrix rows, ReadOnlySpan<int> indices, Span<float> lanes) => Gather(rows, 0, indices, indices.Length, lanes);

    /// <summary>Copies lanes into rows: rows[indices[t], c] = lanes[c, t].</summary>
    /// <param name="lanes">At least (d, Tokens).</param>
    /// <param name="indices">The rows, at most <see cref="Tokens"/>.</param>
    /// <param name="rows">(N, d).</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Scatter(ReadOnlySpan<float> lanes, ReadOnlySpan<int> indices, Matrix rows)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(lanes.Length, rows.Columns * Tokens, nameof(lanes));
        CheckRows(indices, rows.Rows);
        fixed (float* source = lanes)
        {
            float** from = stackalloc float*[8];
            float** to = stackalloc float*[8];
            for (int t = 0; t < indices.Length; t += 8)
            {
                int together = Math.Min(8, indices.Length - t);
                for (int i = 0; i < together; i++)
                {
                    to[i] = rows.Pointer + ((long)indices[t + i] * rows.Stride);
                }

                int c = 0;
                for (; Avx.IsSupported && together == 8 && c + 8 <= rows.Columns; c += 8)
                {
                    for (int i = 0; i < 8; i++)
                    {
                        from[i] = source + ((c + i) * Tokens) + t;
                    }

                    Transpose(from, 0, to, c);
                }

                for (; c < rows.Columns; c++)
                {
                    for (int i = 0; i < together; i++)
                    {
                        to[i][c] = source[(c * Tokens) + t + i];
                    }
                }
            }
        }
    }

    /// <summary>All monomials of a block of tokens, one row per monomial.</summary>
    /// <param name="runs">How each comes from another one; the first monomial is 1.</param>
    /// <param name="coordinates">(d, Tokens).</param>
    /// <param name="features">(r, Tokens), output.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Fill(ReadOnlySpan<MonomialRun> runs, ReadOnlySpan<float> coordinates, Span<float> features)
    {
        foreach (MonomialRun run in runs)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(coordinates.Length, (run.Coordinate + 1) * Tokens, nameof(coordinates));
            ArgumentOutOfRangeException.ThrowIfLessThan(features.Length, (run.Child + run.Count) * Tokens, nameof(features));
        }

        features[..Tokens].Fill(1);
        fixed (float* x = coordinates, f = features)
        {
            foreach (MonomialRun run in runs)
            {
                float* axis = x + (run.Coordinate * Tokens);
                Vector512<float> x0 = Vector512.Load(axis), x1 = Vector512.Load(axis + 16), x2 = Vector512.Load(axis + 32), x3 = Vector512.Load(axis + 48);
                Vector512<float> x4 = Vector512.Load(axis + 64), x5 = Vector512.Load(axis + 80), x6 = Vector512.Load(axis + 96), x7 = Vector512.Load(axis + 112);
                float* parent = f + ((long)run.Parent * Tokens);
                float* child = f + ((long)run.Child * Tokens);
                float* end = child + ((long)run.Count * Tokens);
                for (; child < end; child += Tokens, parent += Tokens)
                {
                    (Vector512.Load(parent) * x0).Store(child);
                    (Vector512.Load(parent + 16) * x1).Store(child + 16);
                    (Vector512.Load(parent + 32) * x2).Store(child + 32);
                    (Vector512.Load(parent + 48) * x3).Store(child + 48);
                    (Vector512.Load(parent + 64) * x4).Store(child + 64);
                    (Vector512.Load(parent + 80) * x5).Store(child + 80);
                    (Vector512.Load(parent + 96) * x6).Store(child + 96);
                    (Vector512.Load(parent + 112) * x7).Store(child + 112);
                }
            }
        }
    }

    /// <summary>Length of the partial sums of <see cref="Add"/>.</summary>
    /// <param name="features">r.</param>
    /// <param name="columns">C.</param>
    /// <returns>Number of values.</returns>
    public static int SumsLength(int features, int columns) => (features + FeatureTile - 1) / FeatureTile * (columns / ColumnTile) * TileSums;

    /// <summary>Adds features^T values, lane by lane: lane i of the partial sum of (alpha, c) grows by the sum over the tokens t = i modulo 16 of
    /// features[alpha, t] values[c, t], in float32.</summary>
    /// <param name="count">r; rows up to a multiple of <see cref="FeatureTile"/> are read and summed too.</param>
    /// <param name="features">(r, Tokens).</param>
    /// <param name="columns">C.</param>
    /// <param name="values">(C, Tokens).</param>
    /// <param name="sums">Partial sums, read by <see cref="Join"/>.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Add(int count, ReadOnlySpan<float> features, int columns, ReadOnlySpan<float> values, Span<float> sums)
    {
        int padded = (count + FeatureTile - 1) / FeatureTile * FeatureTile;
        ArgumentOutOfRangeException.ThrowIfLessThan(features.Length, padded * Tokens, nameof(features));
        ArgumentOutOfRangeException.ThrowIfLessThan(values.Length, columns * Tokens, nameof(values));
        ArgumentOutOfRangeException.ThrowIfLessThan(sums.Length, SumsLength(count, columns), nameof(sums));
        fixed (float* allFeatures = features, allValues = values, allSums = sums)
        {
            float* s = allSums;
            for (int alpha = 0; alpha < padded; alpha += FeatureTile)
            {
                float* f = allFeatures + ((long)alpha * Tokens);
                for (int c = 0; c < columns; c += ColumnTile, s += TileSums)
                {
                    AddTile(f, allValues + ((long)c * Tokens), s);
                }
            }
        }
    }

    /// <summary>Adds up the lanes of partial sums: total[alpha, c] += their sum over the lanes.</summary>
    /// <param name="sums">What <see cref="Add"/> summed.</param>
    /// <param name="count">r.</param>
    /// <param name="columns">C.</param>
    /// <param name="total">(r, C).</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Join(ReadOnlySpan<float> sums, int count, int columns, Span<double> total)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(sums.Length, SumsLength(count, columns), nameof(sums));
        ArgumentOutOfRangeException.ThrowIfLessThan(total.Length, count * columns, nameof(total));
        fixed (float* s = sums)
        {
            for (int alpha = 0; alpha < count; alpha++)
            {
                float* row = s + ((long)(alpha / FeatureTile) * (columns / ColumnTile) * TileSums) + (alpha % FeatureTile * ColumnTile * Lanes);
                for (int c = 0; c < columns; c++)
                {
                    total[(alpha * columns) + c] += Vector512.Sum(Vector512.Load(row + (c / ColumnTile * TileSums) + (c % ColumnTile * Lanes)));
                }
            }
        }
    }

    /// <summary>result[c, t] = sum over degrees m of coefficients[m, t] times the sum over the monomials alpha of that degree of
    /// features[alpha, t] moments[alpha, c], in float32.</summary>
    /// <param name="features">(r, Tokens).</param>
    /// <param name="starts">First monomial of every degree, and one past the last: 0, 1, …, r.</param>
    /// <param name="moments">(r, C).</param>
    /// <param name="columns">C.</param>
    /// <param name="coefficients">(degrees, Tokens).</param>
    /// <param name="result">(C, Tokens), overwritten.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Evaluate(
        ReadOnlySpan<float> features, ReadOnlySpan<int> starts, ReadOnlySpan<float> moments, int columns, ReadOnlySpan<float> coefficients, Span<float> result)
    {
        int degrees = starts.Length - 1;
        ArgumentOutOfRangeException.ThrowIfLessThan(features.Length, starts[^1] * Tokens, nameof(features));
        ArgumentOutOfRangeException.ThrowIfLessThan(moments.Length, starts[^1] * columns, nameof(moments));
        ArgumentOutOfRangeException.ThrowIfLessThan(coefficients.Length, degrees * Tokens, nameof(coefficients));
        ArgumentOutOfRangeException.ThrowIfLessThan(result.Length, columns * Tokens, nameof(result));
        result[..(columns * Tokens)].Clear();
        fixed (float* f = features, m = moments, p = coefficients, o = result)
        {
            for (int degree = 0; degree < degrees; degree++)
            {
                for (int c = 0; c < columns; c += ColumnTile)
                {
                    for (int t = 0; t < Tokens; t += 4 * Lanes)
                    {
                        EvaluateTile(
                            f + ((long)starts[degree] * Tokens) + t, m + ((long)starts[degree] * columns) + c, starts[degree + 1] - starts[degree], columns,
                            p + (degree * Tokens) + t, o + ((long)c * Tokens) + t);
                    }
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Gather(Matrix rows, int start, ReadOnlySpan<int> indices, int count, Span<float> lanes)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, Tokens);
        ArgumentOutOfRangeException.ThrowIfLessThan(lanes.Length, rows.Columns * Tokens, nameof(lanes));
        if (count < Tokens)
        {
            lanes[..(rows.Columns * Tokens)].Clear();
        }

        CheckRows(indices, rows.Rows);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(indices.IsEmpty ? start + count : 0, rows.Rows, nameof(start));
        fixed (float* target = lanes)
        fixed (int* rowsOf = indices)
        {
            float** pointers = stackalloc float*[8];
            float** columns = stackalloc float*[8];
            for (int t = 0; t < count; t += 8)
            {
                int together = Math.Min(8, count - t);
                for (int i = 0; i < together; i++)
                {
                    pointers[i] = rows.Pointer + ((long)(rowsOf == null ? start + t + i : rowsOf[t + i]) * rows.Stride);
                }

                int l = 0;
                for (; Avx.IsSupported && together == 8 && l + 8 <= rows.Columns; l += 8)
                {
                    for (int i = 0; i < 8; i++)
                    {
                        columns[i] = target + ((l + i) * Tokens) + t;
                    }

                    Transpose(pointers, l, columns, 0);
                }

                for (; l < rows.Columns; l++)
                {
                    for (int i = 0; i < together; i++)
                    {
                        target[(l * Tokens) + t + i] = pointers[i][l];
                    }
                }
            }
        }
    }

    private static void CheckRows(ReadOnlySpan<int> indices, int rows)
    {
        foreach (int index in indices)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)rows, nameof(indices));
        }
    }

    /// <summary>to[j][at + i] = from[i][first + j] for i, j below 8: unpack, shuffle, exchange halves.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose(float** from, int first, float** to, int at)
    {
        Vector256<float> r0 = Vector256.Load(from[0] + first), r1 = Vector256.Load(from[1] + first), r2 = Vector256.Load(from[2] + first), r3 = Vector256.Load(from[3] + first);
        Vector256<float> r4 = Vector256.Load(from[4] + first), r5 = Vector256.Load(from[5] + first), r6 = Vector256.Load(from[6] + first), r7 = Vector256.Load(from[7] + first);
        Vector256<float> a0 = Avx.UnpackLow(r0, r1), a1 = Avx.UnpackHigh(r0, r1), a2 = Avx.UnpackLow(r2, r3), a3 = Avx.UnpackHigh(r2, r3);
        Vector256<float> a4 = Avx.UnpackLow(r4, r5), a5 = Avx.UnpackHigh(r4, r5), a6 = Avx.UnpackLow(r6, r7), a7 = Avx.UnpackHigh(r6, r7);
        r0 = Avx.Shuffle(a0, a2, 0x44);
        r1 = Avx.Shuffle(a0, a2, 0xEE);
        r2 = Avx.Shuffle(a1, a3, 0x44);
        r3 = Avx.Shuffle(a1, a3, 0xEE);
        r4 = Avx.Shuffle(a4, a6, 0x44);
        r5 = Avx.Shuffle(a4, a6, 0xEE);
        r6 = Avx.Shuffle(a5, a7, 0x44);
        r7 = Avx.Shuffle(a5, a7, 0xEE);
        Avx.Permute2x128(r0, r4, 0x20).Store(to[0] + at);
        Avx.Permute2x128(r1, r5, 0x20).Store(to[1] + at);
        Avx.Permute2x128(r2, r6, 0x20).Store(to[2] + at);
        Avx.Permute2x128(r3, r7, 0x20).Store(to[3] + at);
        Avx.Permute2x128(r0, r4, 0x31).Store(to[4] + at);
        Avx.Permute2x128(r1, r5, 0x31).Store(to[5] + at);
        Avx.Permute2x128(r2, r6, 0x31).Store(to[6] + at);
        Avx.Permute2x128(r3, r7, 0x31).Store(to[7] + at);
    }

    /// <summary>Six monomials by three columns: 18 accumulators, which hide the latency of the multiply-adds.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddTile(float* f, float* v, float* s)
    {
        Vector512<float> a0 = Vector512.Load(s), a1 = Vector512.Load(s + 16), a2 = Vector512.Load(s + 32);
        Vector512<float> b0 = Vector512.Load(s + 48), b1 = Vector512.Load(s + 64), b2 = Vector512.Load(s + 80);
        Vector512<float> c0 = Vector512.Load(s + 96), c1 = Vector512.Load(s + 112), c2 = Vector512.Load(s + 128);
        Vector512<float> d0 = Vector512.Load(s + 144), d1 = Vector512.Load(s + 160), d2 = Vector512.Load(s + 176);
        Vector512<float> e0 = Vector512.Load(s + 192), e1 = Vector512.Load(s + 208), e2 = Vector512.Load(s + 224);
        Vector512<float> g0 = Vector512.Load(s + 240), g1 = Vector512.Load(s + 256), g2 = Vector512.Load(s + 272);
        for (float* end = f + Tokens; f < end; f += Lanes, v += Lanes)
        {
            Vector512<float> v0 = Vector512.Load(v), v1 = Vector512.Load(v + Tokens), v2 = Vector512.Load(v + (2 * Tokens));
            Vector512<float> x = Vector512.Load(f);
            a0 = Vector512.MultiplyAddEstimate(x, v0, a0);
            a1 = Vector512.MultiplyAddEstimate(x, v1, a1);
            a2 = Vector512.MultiplyAddEstimate(x, v2, a2);
            x = Vector512.Load(f + Tokens);
            b0 = Vector512.MultiplyAddEstimate(x, v0, b0);
            b1 = Vector512.MultiplyAddEstimate(x, v1, b1);
            b2 = Vector512.MultiplyAddEstimate(x, v2, b2);
            x = Vector512.Load(f + (2 * Tokens));
            c0 = Vector512.MultiplyAddEstimate(x, v0, c0);
            c1 = Vector512.MultiplyAddEstimate(x, v1, c1);
            c2 = Vector512.MultiplyAddEstimate(x, v2, c2);
            x = Vector512.Load(f + (3 * Tokens));
            d0 = Vector512.MultiplyAddEstimate(x, v0, d0);
            d1 = Vector512.MultiplyAddEstimate(x, v1, d1);
            d2 = Vector512.MultiplyAddEstimate(x, v2, d2);
            x = Vector512.Load(f + (4 * Tokens));
            e0 = Vector512.MultiplyAddEstimate(x, v0, e0);
            e1 = Vector512.MultiplyAddEstimate(x, v1, e1);
            e2 = Vector512.MultiplyAddEstimate(x, v2, e2);
            x = Vector512.Load(f + (5 * Tokens));
            g0 = Vector512.MultiplyAddEstimate(x, v0, g0);
            g1 = Vector512.MultiplyAddEstimate(x, v1, g1);
            g2 = Vector512.MultiplyAddEstimate(x, v2, g2);
        }

        Store(s, a0, a1, a2);
        Store(s + 48, b0, b1, b2);
        Store(s + 96, c0, c1, c2);
        Store(s + 144, d0, d1, d2);
        Store(s + 192, e0, e1, e2);
        Store(s + 240, g0, g1, g2);
    }

    /// <summary>64 tokens by three columns, for the monomials of one degree.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void EvaluateTile(float* f, float* m, int count, int columns, float* p, float* o)
    {
        Vector512<float> a0 = default, a1 = default, a2 = default, b0 = default, b1 = default, b2 = default;
        Vector512<float> c0 = default, c1 = default, c2 = default, d0 = default, d1 = default, d2 = default;
        for (int alpha = 0; alpha < count; alpha++, f += Tokens, m += columns)
        {
            Vector512<float> m0 = Vector512.Create(m[0]), m1 = Vector512.Create(m[1]), m2 = Vector512.Create(m[2]);
            Vector512<float> x = Vector512.Load(f);
            a0 = Vector512.MultiplyAddEstimate(x, m0, a0);
            a1 = Vector512.MultiplyAddEstimate(x, m1, a1);
            a2 = Vector512.MultiplyAddEstimate(x, m2, a2);
            x = Vector512.Load(f + 16);
            b0 = Vector512.MultiplyAddEstimate(x, m0, b0);
            b1 = Vector512.MultiplyAddEstimate(x, m1, b1);
            b2 = Vector512.MultiplyAddEstimate(x, m2, b2);
            x = Vector512.Load(f + 32);
            c0 = Vector512.MultiplyAddEstimate(x, m0, c0);
            c1 = Vector512.MultiplyAddEstimate(x, m1, c1);
            c2 = Vector512.MultiplyAddEstimate(x, m2, c2);
            x = Vector512.Load(f + 48);
            d0 = Vector512.MultiplyAddEstimate(x, m0, d0);
            d1 = Vector512.MultiplyAddEstimate(x, m1, d1);
            d2 = Vector512.MultiplyAddEstimate(x, m2, d2);
        }

        Flush(Vector512.Load(p), a0, a1, a2, o);
        Flush(Vector512.Load(p + 16), b0, b1, b2, o + 16);
        Flush(Vector512.Load(p + 32), c0, c1, c2, o + 32);
        Flush(Vector512.Load(p + 48), d0, d1, d2, o + 48);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Flush(Vector512<float> p, Vector512<float> x0, Vector512<float> x1, Vector512<float> x2, float* o)
    {
        Vector512.MultiplyAddEstimate(p, x0, Vector512.Load(o)).Store(o);
        Vector512.MultiplyAddEstimate(p, x1, Vector512.Load(o + Tokens)).Store(o + Tokens);
        Vector512.MultiplyAddEstimate(p, x2, Vector512.Load(o + (2 * Tokens))).Store(o + (2 * Tokens));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(float* s, Vector512<float> x0, Vector512<float> x1, Vector512<float> x2)
    {
        x0.Store(s);
        x1.Store(s + 16);
        x2.Store(s + 32);
    }
}
