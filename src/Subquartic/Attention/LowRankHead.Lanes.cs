using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Subquartic.Attention;

/// <content>Arithmetic on the lanes of a block.</content>
internal sealed partial class LowRankHead
{
    /// <summary>sum += factor (x - centre), in double.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddProduct(ReadOnlySpan<float> x, float centre, float factor, Span<double> sum)
    {
        ReadOnlySpan<Vector512<float>> from = MemoryMarshal.Cast<float, Vector512<float>>(x);
        Span<Vector512<double>> to = MemoryMarshal.Cast<double, Vector512<double>>(sum);
        Vector512<double> c = Vector512.Create((double)centre);
        Vector512<double> f = Vector512.Create((double)factor);
        for (int g = 0; g < from.Length; g++)
        {
            (Vector512<double> lower, Vector512<double> upper) = Vector512.Widen(from[g]);
            to[2 * g] += (lower - c) * f;
            to[(2 * g) + 1] += (upper - c) * f;
        }
    }

    /// <summary>sum += factor x, in double.</summary>
    private static void AddScaled(ReadOnlySpan<float> x, float factor, Span<double> sum) => AddProduct(x, 0, factor, sum);

    /// <summary>sum += (factor x)^2, in double.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddSquare(ReadOnlySpan<float> x, double factor, Span<double> sum)
    {
        ReadOnlySpan<Vector512<float>> from = MemoryMarshal.Cast<float, Vector512<float>>(x);
        Span<Vector512<double>> to = MemoryMarshal.Cast<double, Vector512<double>>(sum);
        Vector512<double> f = Vector512.Create(factor);
        for (int g = 0; g < from.Length; g++)
        {
            (Vector512<double> lower, Vector512<double> upper) = Vector512.Widen(from[g]);
            lower *= f;
            upper *= f;
            to[2 * g] += lower * lower;
            to[(2 * g) + 1] += upper * upper;
        }
    }

    /// <summary>sum += factor |x|; largest = max(largest, |x|). A NaN reaches the sum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddMagnitude(ReadOnlySpan<float> x, float factor, Span<float> sum, Span<float> largest)
    {
        ReadOnlySpan<Vector512<float>> from = MemoryMarshal.Cast<float, Vector512<float>>(x);
        Span<Vector512<float>> to = MemoryMarshal.Cast<float, Vector512<float>>(sum);
        Span<Vector512<float>> top = MemoryMarshal.Cast<float, Vector512<float>>(largest);
        Vector512<float> f = Vector512.Create(factor);
        for (int g = 0; g < from.Length; g++)
        {
            Vector512<float> magnitude = Vector512.Abs(from[g]);
            to[g] += magnitude * f;
            top[g] = Vector512.Max(top[g], magnitude);
        }
    }

    /// <summary>weighted = (x - centre) scaled, times the weight.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void WeighValues(ReadOnlySpan<float> x, float centre, ReadOnlySpan<float> weights, Span<float> weighted)
    {
        ReadOnlySpan<Vector512<float>> from = MemoryMarshal.Cast<float, Vector512<float>>(x);
        ReadOnlySpan<Vector512<float>> w = MemoryMarshal.Cast<float, Vector512<float>>(weights);
        Span<Vector512<float>> to = MemoryMarshal.Cast<float, Vector512<float>>(weighted);
        Vector512<float> c = Vector512.Create(centre);
        Vector512<float> first = Vector512.Create(_valueFactors[0]);
        Vector512<float> second = Vector512.Create(_valueFactors[1]);
        for (int g = 0; g < from.Length; g++)
        {
            to[g] = (from[g] - c) * first * second * w[g];
        }
    }

    /// <summary>x = x / weight, scaled back, plus the centre.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Divide(Span<float> x, ReadOnlySpan<float> weights, float centre)
    {
        Span<Vector512<float>> to = MemoryMarshal.Cast<float, Vector512<float>>(x);
        ReadOnlySpan<Vector512<float>> w = MemoryMarshal.Cast<float, Vector512<float>>(weights);
        Vector512<float> c = Vector512.Create(centre);
        Vector512<float> first = Vector512.Create(_valueFactors[2]);
        Vector512<float> second = Vector512.Create(_valueFactors[3]);
        for (int g = 0; g < to.Length; g++)
        {
            to[g] = (to[g] / w[g] * first * second) + c;
        }
    }

    /// <summary>A float32 that is not below a number.</summary>
    private static float Above(double x)
    {
        float rounded = (float)x;
        return rounded < x ? MathF.BitIncrement(rounded) : rounded;
    }
}
