using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

// One pass over rows as they are given: lengths, sums, extremes, and whether all is finite.
internal static partial class RowVectors
{
    /// <summary>Sums of the columns of some rows, and the largest sum of the squares of a row.</summary>
    /// <param name="x">The matrix.</param>
    /// <param name="first">First row.</param>
    /// <param name="squares">One place a row.</param>
    /// <param name="sum">One a column, overwritten.</param>
    /// <param name="poison">Becomes NaN when a value is not finite.</param>
    /// <returns>The largest sum; NaN and infinity stay.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float Measure(Matrix x, int first, Span<float> squares, Span<float> sum, ref float poison)
    {
        squares.Clear();
        sum.Clear();
        ref float values = ref Start(x, first);
        Vector512<float> bad = default;
        int j = 0, width = x.Columns;
        for (; j + (4 * Lanes) <= width; j += 4 * Lanes)
        {
            Vector512<float> s0 = default, s1 = default, s2 = default, s3 = default;
            for (int t = 0; t < squares.Length; t++)
            {
                nuint at = ((nuint)t * (nuint)x.Stride) + (nuint)j;
                Vector512<float> a = Vector512.LoadUnsafe(ref values, at), b = Vector512.LoadUnsafe(ref values, at + Lanes);
                Vector512<float> c = Vector512.LoadUnsafe(ref values, at + (2 * Lanes)), d = Vector512.LoadUnsafe(ref values, at + (3 * Lanes));
                s0 += a;
                s1 += b;
                s2 += c;
                s3 += d;
                squares[t] += Vector512.Sum(Vector512.MultiplyAddEstimate(a, a, b * b) + Vector512.MultiplyAddEstimate(c, c, d * d));
                bad += ((a + b) * Vector512<float>.Zero) + ((c + d) * Vector512<float>.Zero); // opposite infinities give NaN as well
            }

            s0.CopyTo(sum.Slice(j, Lanes));
            s1.CopyTo(sum.Slice(j + Lanes, Lanes));
            s2.CopyTo(sum.Slice(j + (2 * Lanes), Lanes));
            s3.CopyTo(sum.Slice(j + (3 * Lanes), Lanes));
        }

        poison += Vector512.Sum(bad);
        for (int t = 0; t < squares.Length && j < width; t++)
        {
            ReadOnlySpan<float> row = x.Row(first + t);
            for (int c = j; c < width; c++)
            {
                sum[c] += row[c];
                squares[t] += row[c] * row[c];
                poison += row[c] * 0;
            }
        }

        return TensorPrimitives.Max<float>(squares); // keeps a NaN
    }

    /// <summary>Least and largest value of the columns of some rows.</summary>
    /// <param name="x">The matrix.</param>
    /// <param name="first">First row.</param>
    /// <param name="count">Number of rows.</param>
    /// <param name="least">One a column, overwritten.</param>
    /// <param name="most">One a column, overwritten.</param>
    /// <param name="poison">Becomes NaN when a value is not finite.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Extremes(Matrix x, int first, int count, Span<float> least, Span<float> most, ref float poison)
    {
        least.Fill(float.PositiveInfinity);
        most.Fill(float.NegativeInfinity);
        ref float values = ref Start(x, first);
        Vector512<float> bad = default;
        int j = 0, width = x.Columns;
        for (; j + (4 * Lanes) <= width; j += 4 * Lanes)
        {
            Vector512<float> l0 = Vector512.Create(float.PositiveInfinity), l1 = l0, l2 = l0, l3 = l0;
            Vector512<float> m0 = -l0, m1 = m0, m2 = m0, m3 = m0;
            for (int t = 0; t < count; t++)
            {
                nuint at = ((nuint)t * (nuint)x.Stride) + (nuint)j;
                Vector512<float> a = Vector512.LoadUnsafe(ref values, at), b = Vector512.LoadUnsafe(ref values, at + Lanes);
                Vector512<float> c = Vector512.LoadUnsafe(ref values, at + (2 * Lanes)), d = Vector512.LoadUnsafe(ref values, at + (3 * Lanes));
                l0 = Vector512.MinNative(l0, a);
                l1 = Vector512.MinNative(l1, b);
                l2 = Vector512.MinNative(l2, c);
                l3 = Vector512.MinNative(l3, d);
                m0 = Vector512.MaxNative(m0, a);
                m1 = Vector512.MaxNative(m1, b);
                m2 = Vector512.MaxNative(m2, c);
                m3 = Vector512.MaxNative(m3, d);
                bad += ((a + b) * Vector512<float>.Zero) + ((c + d) * Vector512<float>.Zero);
            }

            l0.CopyTo(least.Slice(j, Lanes));
            l1.CopyTo(least.Slice(j + Lanes, Lanes));
            l2.CopyTo(least.Slice(j + (2 * Lanes), Lanes));
            l3.CopyTo(least.Slice(j + (3 * Lanes), Lanes));
            m0.CopyTo(most.Slice(j, Lanes));
            m1.CopyTo(most.Slice(j + Lanes, Lanes));
            m2.CopyTo(most.Slice(j + (2 * Lanes), Lanes));
            m3.CopyTo(most.Slice(j + (3 * Lanes), Lanes));
        }

        poison += Vector512.Sum(bad);
        for (int t = 0; t < count && j < width; t++)
        {
            ReadOnlySpan<float> row = x.Row(first + t);
            for (int c = j; c < width; c++)
            {
                least[c] = Math.Min(least[c], row[c]);
                most[c] = Math.Max(most[c], row[c]);
                poison += row[c] * 0;
            }
        }
    }

    /// <summary>The largest sum of the squares of a row, 0 without rows; NaN and infinity stay.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float LongestSquare(Matrix x)
    {
        if (x.Rows == 0)
        {
            return 0;
        }

        ref float values = ref Start(x, 0);
        float longest = 0;
        int width = x.Columns;
        nuint at = 0;
        for (int row = 0; row < x.Rows; row++, at += (nuint)x.Stride)
        {
            Vector512<float> even = default, odd = default;
            int j = 0;
            for (; j + (2 * Lanes) <= width; j += 2 * Lanes)
            {
                Vector512<float> a = Vector512.LoadUnsafe(ref values, at + (nuint)j), b = Vector512.LoadUnsafe(ref values, at + (nuint)(j + Lanes));
                even = Vector512.MultiplyAddEstimate(a, a, even);
                odd = Vector512.MultiplyAddEstimate(b, b, odd);
            }

            float rest = Vector512.Sum(even + odd);
            for (; j < width; j++)
            {
                float value = Unsafe.Add(ref values, at + (nuint)j);
                rest += value * value;
            }

            longest = Math.Max(longest, rest);
        }

        return longest;
    }

    /// <summary>The largest |x| of a matrix, 0 for nothing; NaN when a value is not finite.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float LargestMagnitude(Matrix x)
    {
        if (x.Rows == 0)
        {
            return 0;
        }

        ref float values = ref Start(x, 0);

        // Without its sign a float32 is ordered as the integer of its bits; what is not finite comes last.
        Vector512<int> most = default, more = default, magnitude = Vector512.Create(int.MaxValue);
        int largest = 0, width = x.Columns;
        nuint at = 0;
        for (int row = 0; row < x.Rows; row++, at += (nuint)x.Stride)
        {
            int j = 0;
            for (; j + (2 * Lanes) <= width; j += 2 * Lanes)
            {
                most = Vector512.Max(most, Vector512.LoadUnsafe(ref values, at + (nuint)j).AsInt32() & magnitude);
                more = Vector512.Max(more, Vector512.LoadUnsafe(ref values, at + (nuint)(j + Lanes)).AsInt32() & magnitude);
            }

            for (; j < width; j++)
            {
                largest = Math.Max(largest, BitConverter.SingleToInt32Bits(Unsafe.Add(ref values, at + (nuint)j)) & int.MaxValue);
            }
        }

        most = Vector512.Max(most, more);
        for (int lane = 0; lane < Lanes; lane++)
        {
            largest = Math.Max(largest, most[lane]);
        }

        float result = BitConverter.Int32BitsToSingle(largest);
        return float.IsFinite(result) ? result : float.NaN;
    }

    /// <summary>The first value of a row; called before vectors are at work, which a call would drive out of their registers for the whole loop.</summary>
    private static ref float Start(Matrix x, int row) => ref MemoryMarshal.GetReference(x.Rows == 0 ? [] : x.Row(row));
}
