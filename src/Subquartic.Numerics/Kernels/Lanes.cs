using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Subquartic.Numerics.Kernels;

/// <summary>The vector operations the kernels are written in, once for all widths: <typeparamref name="TVector"/> stays a plain
/// hardware vector, so that the compiler keeps tiles of it in registers.</summary>
/// <typeparam name="TVector">Vector128, Vector256 or Vector512 of float.</typeparam>
internal unsafe interface ILanes<TVector>
    where TVector : unmanaged
{
    /// <summary>Float32 values in a vector.</summary>
    static abstract int Count { get; }

    /// <summary>Rows of a register tile that is two vectors wide: as many as the register file holds.</summary>
    static abstract int TileRows { get; }

    static abstract TVector Zero { get; }

    static abstract TVector Broadcast(float value);

    static abstract TVector Load(float* source);

    static abstract void Store(float* destination, TVector value);

    /// <summary>Stores to an address aligned to a vector, past the caches: for results that are too large to be still there when
    /// they are read. Other threads see it after the interlocked operations that end a parallel loop.</summary>
    static abstract void StoreNonTemporal(float* destination, TVector value);

    /// <summary>Asks for a cache line to be brought into the second-level cache; any address will do.</summary>
    static virtual void Prefetch(float* address)
    {
        if (Sse.IsSupported)
        {
            Sse.Prefetch1(address);
        }
    }

    static abstract TVector Add(TVector a, TVector b);

    static abstract TVector Subtract(TVector a, TVector b);

    static abstract TVector Multiply(TVector a, TVector b);

    static abstract TVector Divide(TVector a, TVector b);

    /// <summary>a * b + c, rounded once where the processor can, otherwise twice.</summary>
    static abstract TVector MultiplyAdd(TVector a, TVector b, TVector c);

    /// <summary>The larger of each pair. When <paramref name="b"/> is NaN the result is NaN; when only <paramref name="a"/> is,
    /// the result is the processor's choice. One instruction, where the IEEE maximum takes several.</summary>
    static abstract TVector Max(TVector a, TVector b);

    /// <summary>The smaller of each pair; NaN as in <see cref="Max"/>.</summary>
    static abstract TVector Min(TVector a, TVector b);

    static abstract TVector Sqrt(TVector a);

    /// <summary>The nearest integer, ties to even.</summary>
    static abstract TVector Round(TVector a);

    /// <summary>a * 2^exponent for integral exponents from -252 to 252, rounded at most once into the subnormals.</summary>
    static abstract TVector Scale(TVector a, TVector exponent);

    /// <summary>All bits set where a &lt; b, none elsewhere (NaN included).</summary>
    static abstract TVector LessThan(TVector a, TVector b);

    /// <summary>Picks lanes of <paramref name="a"/> where the mask is set, of <paramref name="b"/> elsewhere.</summary>
    static abstract TVector Select(TVector mask, TVector a, TVector b);

    // In what follows vectors hold integers of 32 bits, or two of 16.

    /// <summary>The nearest integers, ties to even; of values below 2^31 in magnitude.</summary>
    static abstract TVector ToInteger(TVector a);

    /// <summary>Integers as float32, rounded to nearest.</summary>
    static abstract TVector ToSingle(TVector a);

    static abstract TVector AddInteger(TVector a, TVector b);

    /// <summary>The lower half of <paramref name="low"/>, and that of <paramref name="high"/> above it.</summary>
    static abstract TVector JoinHalves(TVector low, TVector high);

    /// <summary>sum + low * low + high * high, of the signed halves of <paramref name="a"/> and <paramref name="b"/>.</summary>
    static abstract TVector AddPairProducts(TVector sum, TVector a, TVector b);

    /// <summary>The float32 <paramref name="value"/> times 2^n, n in the lowest 9 bits of <paramref name="exponent"/>, signed; for normal numbers that stay so.</summary>
    static abstract TVector AddExponent(TVector value, TVector exponent);

    /// <summary>Sum of the lanes, in a fixed order.</summary>
    static abstract float SumOf(TVector a);

    /// <summary>Largest lane.</summary>
    static abstract float MaxOf(TVector a);

    /// <summary>Writes the columns of a square block, as many rows as lanes, as rows.</summary>
    static abstract void Transpose(float* source, nint stride, float* destination, nint destinationStride);
}

/// <summary>Square blocks turned over where no shuffles of a width are known.</summary>
internal static unsafe class PlainLanes
{
    /// <summary>Writes the columns of a block of <paramref name="count"/> x <paramref name="count"/> values as rows, four rows at a time.</summary>
    public static void Transpose(float* source, nint stride, float* destination, nint destinationStride, int count)
    {
        for (nint row = 0; row < count; row += 4)
        {
            float* a = source + row * stride;
            for (nint column = 0; column < count; column++)
            {
                Vector128.Create(a[column], a[stride + column], a[2 * stride + column], a[3 * stride + column])
                    .Store(destination + column * destinationStride + row);
            }
        }
    }
}

internal readonly unsafe struct Lanes128 : ILanes<Vector128<float>>
{
    public static int Count => 4;

    public static int TileRows => 6;

    public static Vector128<float> Zero => Vector128<float>.Zero;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Broadcast(float value) => Vector128.Create(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Load(float* source) => Vector128.Load(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float* destination, Vector128<float> value) => Vector128.Store(value, destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreNonTemporal(float* destination, Vector128<float> value) =>
        Vector128.StoreAlignedNonTemporal(value, destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Add(Vector128<float> a, Vector128<float> b) => a + b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Subtract(Vector128<float> a, Vector128<float> b) => a - b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Multiply(Vector128<float> a, Vector128<float> b) => a * b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Divide(Vector128<float> a, Vector128<float> b) => a / b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> MultiplyAdd(Vector128<float> a, Vector128<float> b, Vector128<float> c) =>
        Vector128.MultiplyAddEstimate(a, b, c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Max(Vector128<float> a, Vector128<float> b) => Vector128.MaxNative(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Min(Vector128<float> a, Vector128<float> b) => Vector128.MinNative(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Sqrt(Vector128<float> a) => Vector128.Sqrt(a);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Round(Vector128<float> a) => Vector128.Round(a);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Scale(Vector128<float> a, Vector128<float> exponent)
    {
        // Two factors, each a normal number, so that results among the subnormals and beyond the largest float come out right.
        Vector128<int> n = Vector128.ConvertToInt32Native(exponent);
        Vector128<int> half = n >> 1;
        Vector128<int> bias = Vector128.Create(127);
        return a * Vector128.AsSingle((half + bias) << 23) * Vector128.AsSingle((n - half + bias) << 23);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> LessThan(Vector128<float> a, Vector128<float> b) => Vector128.LessThan(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> Select(Vector128<float> mask, Vector128<float> a, Vector128<float> b) =>
        Vector128.ConditionalSelect(mask, a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> ToInteger(Vector128<float> a) =>
        Sse2.IsSupported ? Sse2.ConvertToVector128Int32(a).AsSingle() : Vector128.ConvertToInt32Native(Vector128.Round(a)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> ToSingle(Vector128<float> a) => Vector128.ConvertToSingle(a.AsInt32());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> AddInteger(Vector128<float> a, Vector128<float> b) => (a.AsInt32() + b.AsInt32()).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> JoinHalves(Vector128<float> low, Vector128<float> high) =>
        ((low.AsInt32() & Vector128.Create(0xffff)) | (high.AsInt32() << 16)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> AddPairProducts(Vector128<float> sum, Vector128<float> a, Vector128<float> b)
    {
        if (AvxVnni.IsSupported)
        {
            return AvxVnni.MultiplyWideningAndAdd(sum.AsInt32(), a.AsInt16(), b.AsInt16()).AsSingle();
        }

        if (Sse2.IsSupported)
        {
            return (sum.AsInt32() + Sse2.MultiplyAddAdjacent(a.AsInt16(), b.AsInt16())).AsSingle();
        }

        Vector128<int> low = (a.AsInt32() << 16 >> 16) * (b.AsInt32() << 16 >> 16);
        return (sum.AsInt32() + low + (a.AsInt32() >> 16) * (b.AsInt32() >> 16)).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector128<float> AddExponent(Vector128<float> value, Vector128<float> exponent) => (value.AsInt32() + (exponent.AsInt32() << 23)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float SumOf(Vector128<float> a) => Vector128.Sum(a);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxOf(Vector128<float> a)
    {
        Vector128<float> pairs = Vector128.MaxNative(a, Vector128.Shuffle(a, Vector128.Create(2, 3, 0, 1)));
        return Vector128.MaxNative(pairs, Vector128.Shuffle(pairs, Vector128.Create(1, 0, 3, 2))).ToScalar();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Transpose(float* source, nint stride, float* destination, nint destinationStride)
    {
        if (!Sse.IsSupported)
        {
            PlainLanes.Transpose(source, stride, destination, destinationStride, Count);
            return;
        }

        Vector128<float> a = Vector128.Load(source);
        Vector128<float> b = Vector128.Load(source + stride);
        Vector128<float> c = Vector128.Load(source + 2 * stride);
        Vector128<float> d = Vector128.Load(source + 3 * stride);
        Vector128<float> ab = Sse.UnpackLow(a, b);
        Vector128<float> cd = Sse.UnpackLow(c, d);
        Sse.MoveLowToHigh(ab, cd).Store(destination);
        Sse.MoveHighToLow(cd, ab).Store(destination + destinationStride);
        ab = Sse.UnpackHigh(a, b);
        cd = Sse.UnpackHigh(c, d);
        Sse.MoveLowToHigh(ab, cd).Store(destination + 2 * destinationStride);
        Sse.MoveHighToLow(cd, ab).Store(destination + 3 * destinationStride);
    }
}

internal readonly unsafe struct Lanes256 : ILanes<Vector256<float>>
{
    public static int Count => 8;

    public static int TileRows => 6;

    public static Vector256<float> Zero => Vector256<float>.Zero;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Broadcast(float value) => Vector256.Create(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Load(float* source) => Vector256.Load(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float* destination, Vector256<float> value) => Vector256.Store(value, destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreNonTemporal(float* destination, Vector256<float> value) =>
        Vector256.StoreAlignedNonTemporal(value, destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Add(Vector256<float> a, Vector256<float> b) => a + b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Subtract(Vector256<float> a, Vector256<float> b) => a - b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Multiply(Vector256<float> a, Vector256<float> b) => a * b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Divide(Vector256<float> a, Vector256<float> b) => a / b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> MultiplyAdd(Vector256<float> a, Vector256<float> b, Vector256<float> c) =>
        Vector256.MultiplyAddEstimate(a, b, c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Max(Vector256<float> a, Vector256<float> b) => Vector256.MaxNative(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Min(Vector256<float> a, Vector256<float> b) => Vector256.MinNative(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Sqrt(Vector256<float> a) => Vector256.Sqrt(a);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Round(Vector256<float> a) => Vector256.Round(a);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Scale(Vector256<float> a, Vector256<float> exponent)
    {
        // Two factors, each a normal number, so that results among the subnormals and beyond the largest float come out right.
        Vector256<int> n = Vector256.ConvertToInt32Native(exponent);
        Vector256<int> half = n >> 1;
        Vector256<int> bias = Vector256.Create(127);
        return a * Vector256.AsSingle((half + bias) << 23) * Vector256.AsSingle((n - half + bias) << 23);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> LessThan(Vector256<float> a, Vector256<float> b) => Vector256.LessThan(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Select(Vector256<float> mask, Vector256<float> a, Vector256<float> b) =>
        Vector256.ConditionalSelect(mask, a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> ToInteger(Vector256<float> a) =>
        Avx.IsSupported ? Avx.ConvertToVector256Int32(a).AsSingle() : Vector256.ConvertToInt32Native(Vector256.Round(a)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> ToSingle(Vector256<float> a) => Vector256.ConvertToSingle(a.AsInt32());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> AddInteger(Vector256<float> a, Vector256<float> b) => (a.AsInt32() + b.AsInt32()).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> JoinHalves(Vector256<float> low, Vector256<float> high) =>
        ((low.AsInt32() & Vector256.Create(0xffff)) | (high.AsInt32() << 16)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> AddPairProducts(Vector256<float> sum, Vector256<float> a, Vector256<float> b)
    {
        if (AvxVnni.IsSupported)
        {
            return AvxVnni.MultiplyWideningAndAdd(sum.AsInt32(), a.AsInt16(), b.AsInt16()).AsSingle();
        }

        if (Avx2.IsSupported)
        {
            return (sum.AsInt32() + Avx2.MultiplyAddAdjacent(a.AsInt16(), b.AsInt16())).AsSingle();
        }

        Vector256<int> low = (a.AsInt32() << 16 >> 16) * (b.AsInt32() << 16 >> 16);
        return (sum.AsInt32() + low + (a.AsInt32() >> 16) * (b.AsInt32() >> 16)).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> AddExponent(Vector256<float> value, Vector256<float> exponent) => (value.AsInt32() + (exponent.AsInt32() << 23)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float SumOf(Vector256<float> a) => Vector256.Sum(a);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxOf(Vector256<float> a) => Lanes128.MaxOf(Vector128.MaxNative(a.GetLower(), a.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Transpose(float* source, nint stride, float* destination, nint destinationStride)
    {
        if (!Avx.IsSupported)
        {
            PlainLanes.Transpose(source, stride, destination, destinationStride, Count);
            return;
        }

        // Halves of four rows each, as the columns of the block's quarters need them; then the halves are joined.
        FourRows(source, stride, out Vector256<float> a0, out Vector256<float> a1, out Vector256<float> a2, out Vector256<float> a3);
        FourRows(source + 4 * stride, stride, out Vector256<float> b0, out Vector256<float> b1, out Vector256<float> b2, out Vector256<float> b3);
        Avx.Permute2x128(a0, b0, 0x20).Store(destination);
        Avx.Permute2x128(a1, b1, 0x20).Store(destination + destinationStride);
        Avx.Permute2x128(a2, b2, 0x20).Store(destination + 2 * destinationStride);
        Avx.Permute2x128(a3, b3, 0x20).Store(destination + 3 * destinationStride);
        Avx.Permute2x128(a0, b0, 0x31).Store(destination + 4 * destinationStride);
        Avx.Permute2x128(a1, b1, 0x31).Store(destination + 5 * destinationStride);
        Avx.Permute2x128(a2, b2, 0x31).Store(destination + 6 * destinationStride);
        Avx.Permute2x128(a3, b3, 0x31).Store(destination + 7 * destinationStride);
    }

    /// <summary>Four rows: column i and column i + 4, four values each.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FourRows(
        float* source, nint stride, out Vector256<float> column0, out Vector256<float> column1, out Vector256<float> column2, out Vector256<float> column3)
    {
        Vector256<float> a = Vector256.Load(source);
        Vector256<float> b = Vector256.Load(source + stride);
        Vector256<float> c = Vector256.Load(source + 2 * stride);
        Vector256<float> d = Vector256.Load(source + 3 * stride);
        Vector256<double> ab = Avx.UnpackLow(a, b).AsDouble();
        Vector256<double> cd = Avx.UnpackLow(c, d).AsDouble();
        column0 = Avx.UnpackLow(ab, cd).AsSingle();
        column1 = Avx.UnpackHigh(ab, cd).AsSingle();
        ab = Avx.UnpackHigh(a, b).AsDouble();
        cd = Avx.UnpackHigh(c, d).AsDouble();
        column2 = Avx.UnpackLow(ab, cd).AsSingle();
        column3 = Avx.UnpackHigh(ab, cd).AsSingle();
    }
}

internal readonly unsafe struct Lanes512 : ILanes<Vector512<float>>
{
    public static int Count => 16;

    public static int TileRows => 12;

    public static Vector512<float> Zero => Vector512<float>.Zero;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Broadcast(float value) => Vector512.Create(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Load(float* source) => Vector512.Load(source);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float* destination, Vector512<float> value) => Vector512.Store(value, destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreNonTemporal(float* destination, Vector512<float> value) =>
        Vector512.StoreAlignedNonTemporal(value, destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Add(Vector512<float> a, Vector512<float> b) => a + b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Subtract(Vector512<float> a, Vector512<float> b) => a - b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Multiply(Vector512<float> a, Vector512<float> b) => a * b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Divide(Vector512<float> a, Vector512<float> b) => a / b;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> MultiplyAdd(Vector512<float> a, Vector512<float> b, Vector512<float> c) =>
        Vector512.MultiplyAddEstimate(a, b, c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Max(Vector512<float> a, Vector512<float> b) => Vector512.MaxNative(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Min(Vector512<float> a, Vector512<float> b) => Vector512.MinNative(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Sqrt(Vector512<float> a) => Vector512.Sqrt(a);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Round(Vector512<float> a) => Vector512.Round(a);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Scale(Vector512<float> a, Vector512<float> exponent)
    {
        if (Avx512F.IsSupported)
        {
            return Avx512F.Scale(a, exponent);
        }

        // Two factors, each a normal number, so that results among the subnormals and beyond the largest float come out right.
        Vector512<int> n = Vector512.ConvertToInt32Native(exponent);
        Vector512<int> half = n >> 1;
        Vector512<int> bias = Vector512.Create(127);
        return a * Vector512.AsSingle((half + bias) << 23) * Vector512.AsSingle((n - half + bias) << 23);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> LessThan(Vector512<float> a, Vector512<float> b) => Vector512.LessThan(a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Select(Vector512<float> mask, Vector512<float> a, Vector512<float> b) =>
        Vector512.ConditionalSelect(mask, a, b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> ToInteger(Vector512<float> a) =>
        Avx512F.IsSupported ? Avx512F.ConvertToVector512Int32(a).AsSingle() : Vector512.ConvertToInt32Native(Vector512.Round(a)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> ToSingle(Vector512<float> a) => Vector512.ConvertToSingle(a.AsInt32());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> AddInteger(Vector512<float> a, Vector512<float> b) => (a.AsInt32() + b.AsInt32()).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> JoinHalves(Vector512<float> low, Vector512<float> high) =>
        ((low.AsInt32() & Vector512.Create(0xffff)) | (high.AsInt32() << 16)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> AddPairProducts(Vector512<float> sum, Vector512<float> a, Vector512<float> b)
    {
        if (Avx512BW.IsSupported)
        {
            return (sum.AsInt32() + Avx512BW.MultiplyAddAdjacent(a.AsInt16(), b.AsInt16())).AsSingle();
        }

        Vector512<int> low = (a.AsInt32() << 16 >> 16) * (b.AsInt32() << 16 >> 16);
        return (sum.AsInt32() + low + (a.AsInt32() >> 16) * (b.AsInt32() >> 16)).AsSingle();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> AddExponent(Vector512<float> value, Vector512<float> exponent) => (value.AsInt32() + (exponent.AsInt32() << 23)).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float SumOf(Vector512<float> a) => Vector512.Sum(a);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float MaxOf(Vector512<float> a) => Lanes256.MaxOf(Vector256.MaxNative(a.GetLower(), a.GetUpper()));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Transpose(float* source, nint stride, float* destination, nint destinationStride)
    {
        if (!Avx512F.IsSupported)
        {
            PlainLanes.Transpose(source, stride, destination, destinationStride, Count);
            return;
        }

        FourRows(source, stride, out Vector512<float> a0, out Vector512<float> a1, out Vector512<float> a2, out Vector512<float> a3);
        FourRows(source + 4 * stride, stride, out Vector512<float> b0, out Vector512<float> b1, out Vector512<float> b2, out Vector512<float> b3);
        FourRows(source + 8 * stride, stride, out Vector512<float> c0, out Vector512<float> c1, out Vector512<float> c2, out Vector512<float> c3);
        FourRows(source + 12 * stride, stride, out Vector512<float> d0, out Vector512<float> d1, out Vector512<float> d2, out Vector512<float> d3);
        Join(a0, b0, c0, d0, destination, destinationStride);
        Join(a1, b1, c1, d1, destination + destinationStride, destinationStride);
        Join(a2, b2, c2, d2, destination + 2 * destinationStride, destinationStride);
        Join(a3, b3, c3, d3, destination + 3 * destinationStride, destinationStride);
    }

    /// <summary>Four rows: columns i, i + 4, i + 8 and i + 12, four values each.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FourRows(
        float* source, nint stride, out Vector512<float> column0, out Vector512<float> column1, out Vector512<float> column2, out Vector512<float> column3)
    {
        Vector512<float> a = Vector512.Load(source);
        Vector512<float> b = Vector512.Load(source + stride);
        Vector512<float> c = Vector512.Load(source + 2 * stride);
        Vector512<float> d = Vector512.Load(source + 3 * stride);
        Vector512<double> ab = Avx512F.UnpackLow(a, b).AsDouble();
        Vector512<double> cd = Avx512F.UnpackLow(c, d).AsDouble();
        column0 = Avx512F.UnpackLow(ab, cd).AsSingle();
        column1 = Avx512F.UnpackHigh(ab, cd).AsSingle();
        ab = Avx512F.UnpackHigh(a, b).AsDouble();
        cd = Avx512F.UnpackHigh(c, d).AsDouble();
        column2 = Avx512F.UnpackLow(ab, cd).AsSingle();
        column3 = Avx512F.UnpackHigh(ab, cd).AsSingle();
    }

    /// <summary>Columns i, i + 4, i + 8 and i + 12 from their four quarters.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Join(Vector512<float> a, Vector512<float> b, Vector512<float> c, Vector512<float> d, float* destination, nint stride)
    {
        Vector512<float> evenUpper = Avx512F.Shuffle4x128(a, b, 0x88);
        Vector512<float> evenLower = Avx512F.Shuffle4x128(c, d, 0x88);
        Vector512<float> oddUpper = Avx512F.Shuffle4x128(a, b, 0xdd);
        Vector512<float> oddLower = Avx512F.Shuffle4x128(c, d, 0xdd);
        Avx512F.Shuffle4x128(evenUpper, evenLower, 0x88).Store(destination);
        Avx512F.Shuffle4x128(oddUpper, oddLower, 0x88).Store(destination + 4 * stride);
        Avx512F.Shuffle4x128(evenUpper, evenLower, 0xdd).Store(destination + 8 * stride);
        Avx512F.Shuffle4x128(oddUpper, oddLower, 0xdd).Store(destination + 12 * stride);
    }
}
