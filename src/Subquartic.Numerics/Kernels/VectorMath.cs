using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Subquartic.Numerics.Kernels;

/// <summary>Elementary functions of a vector, shared by the kernels. A lane's bits depend on that lane alone.</summary>
/// <remarks>Errors are measured by VectorMathTests against double precision, with and without a fused multiply-add.</remarks>
internal static unsafe class VectorMath<TLanes, TVector>
    where TLanes : struct, ILanes<TVector>
    where TVector : unmanaged
{
    /// <summary>exp(x) within 1.1 ulp; subnormal results included, 0 below -104, infinity above 88.73, NaN for NaN.</summary>
    /// <remarks>x = n ln 2 + r, |r| at most ln(2)/2, exp(x) = 2^n exp(r). ln 2 is split into a head of nine bits, whose
    /// product with n is exact, and a tail; exp(r) is 1 + r + r^2 q(r) with q interpolated at Chebyshev nodes
    /// (relative error 1.0e-8).</remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Exp(TVector x)
    {
        x = TLanes.Min(TLanes.Broadcast(89f), TLanes.Max(TLanes.Broadcast(-104.5f), x));
        TVector n = TLanes.Round(TLanes.Multiply(x, TLanes.Broadcast(1.4426950f)));
        TVector r = TLanes.MultiplyAdd(n, TLanes.Broadcast(-0.693359375f), x);
        r = TLanes.MultiplyAdd(n, TLanes.Broadcast(2.1219444e-4f), r);
        TVector q = TLanes.Broadcast(0.001392618358770565f);
        q = TLanes.MultiplyAdd(q, r, TLanes.Broadcast(0.008363179052722578f));
        q = TLanes.MultiplyAdd(q, r, TLanes.Broadcast(0.04166655461720469f));
        q = TLanes.MultiplyAdd(q, r, TLanes.Broadcast(0.16666576989698775f));
        q = TLanes.MultiplyAdd(q, r, TLanes.Broadcast(0.5f));
        q = TLanes.MultiplyAdd(q, TLanes.Multiply(r, r), r);
        return TLanes.Scale(TLanes.Add(q, TLanes.Broadcast(1f)), n);
    }

    /// <summary>2^x within 1 ulp for x up to 252; subnormal results included, 0 below -150, infinity from 128 on, NaN for NaN.</summary>
    /// <remarks>Cheaper than <see cref="Exp"/>: x - round(x) is exact. 2^r is 1 + r q(r), relative error 5.1e-9, with q in
    /// pairs of terms (Estrin): the softmax of attention waits for the longest chain of multiply-adds.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Exp2(TVector x)
    {
        x = TLanes.Max(TLanes.Broadcast(-151f), x);
        TVector n = TLanes.Round(x);
        TVector r = TLanes.Subtract(x, n);
        TVector square = TLanes.Multiply(r, r);
        TVector q = TLanes.MultiplyAdd(TLanes.Broadcast(0.0001545318282995974f), r, TLanes.Broadcast(0.0013390886332106697f));
        TVector middle = TLanes.MultiplyAdd(TLanes.Broadcast(0.009618082519990467f), r, TLanes.Broadcast(0.05550357071152507f));
        TVector low = TLanes.MultiplyAdd(TLanes.Broadcast(0.24022650760645808f), r, TLanes.Broadcast(0.6931471880352003f));
        q = TLanes.MultiplyAdd(TLanes.MultiplyAdd(q, square, middle), square, low);
        return TLanes.Scale(TLanes.MultiplyAdd(q, r, TLanes.Broadcast(1f)), n);
    }

    /// <summary>x / (1 + exp(-x)), within 3 ulp where the result is a normal number.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector Silu(TVector x)
    {
        TVector one = TLanes.Broadcast(1f);
        return TLanes.Divide(x, TLanes.Add(one, Exp(TLanes.Subtract(TLanes.Zero, x))));
    }

    /// <summary>x/2 (1 + tanh u), u = sqrt(2/pi) (x + 0.044715 x^3), computed as the same value x / (1 + exp(-2u)), which
    /// does not cancel where tanh u is near -1: relative error at most 4 e (1 + 2|u|), e = 2^-24.</summary>
    /// <remarks>The argument -2u takes four roundings (constants, square, sum, product), the rest as many.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector GeluTanh(TVector x)
    {
        // -2u = x (a + b x^2) with a = -2 sqrt(2/pi), b = 0.044715 a.
        TVector factor = TLanes.MultiplyAdd(TLanes.Multiply(x, x), TLanes.Broadcast(-0.07135481f), TLanes.Broadcast(-1.5957691f));
        return TLanes.Divide(x, TLanes.Add(TLanes.Broadcast(1f), Exp(TLanes.Multiply(x, factor))));
    }

    /// <summary>The slope of <see cref="Silu"/>: s (1 + x (1 - s)) with s = 1 / (1 + exp(-x)); absolute error below 64 e, e = 2^-24.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector SiluSlope(TVector x)
    {
        TVector one = TLanes.Broadcast(1f);
        TVector logistic = TLanes.Divide(one, TLanes.Add(one, Exp(TLanes.Subtract(TLanes.Zero, x))));
        return TLanes.Multiply(logistic, TLanes.MultiplyAdd(x, TLanes.Subtract(one, logistic), one));
    }

    /// <summary>The slope of <see cref="GeluTanh"/>: s (1 + (1 - s) x v') with v = 2u, s = 1 / (1 + exp(-v)), v' = sqrt(8/pi) (1 + 0.134145 x^2);
    /// absolute error below 64 e.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector GeluTanhSlope(TVector x)
    {
        TVector one = TLanes.Broadcast(1f);
        TVector square = TLanes.Multiply(x, x);
        TVector argument = TLanes.Multiply(x, TLanes.MultiplyAdd(square, TLanes.Broadcast(-0.07135481f), TLanes.Broadcast(-1.5957691f)));
        TVector logistic = TLanes.Divide(one, TLanes.Add(one, Exp(argument)));
        TVector slope = TLanes.Multiply(x, TLanes.MultiplyAdd(square, TLanes.Broadcast(0.21406444f), TLanes.Broadcast(1.5957691f)));
        return TLanes.Multiply(logistic, TLanes.MultiplyAdd(slope, TLanes.Subtract(one, logistic), one));
    }

    /// <summary>Loads the first <paramref name="count"/> lanes; the others are 0. Reads nothing beyond them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector LoadFirst(float* source, int count)
    {
        Debug.Assert(count >= 0 && count <= TLanes.Count);
        TVector value = TLanes.Zero;
        Unsafe.CopyBlockUnaligned(&value, source, (uint)count * sizeof(float));
        return value;
    }

    /// <summary>Stores the first <paramref name="count"/> lanes and nothing beyond them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreFirst(float* destination, TVector value, int count)
    {
        Debug.Assert(count >= 0 && count <= TLanes.Count);
        Unsafe.CopyBlockUnaligned(destination, &value, (uint)count * sizeof(float));
    }
}
