using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Kernels;

namespace Subquartic.Attention;

/// <summary>How rows of K and Q become the coordinates of features: both are moved, keys by c and scaled queries by m, turned into the coordinates of
/// orthonormal directions (or left in their own), and scaled by powers of two that cancel in the product.</summary>
/// <remarks>
/// <para>Without directions a coordinate is rounded once, k - c in float32 and scale q - m by a fused multiply-add; with them it is computed in
/// double and rounded once. Powers of two are exact but for underflow.</para>
/// <para>All lanes are tokens, <see cref="MonomialKernels.Tokens"/> at a time.</para>
/// </remarks>
internal sealed class TokenMap
{
    private const int T = MonomialKernels.Tokens;

    private const int LargestExponent = 250;

    private float[] _keyFactors = [];
    private float[] _queryFactors = [];
    private float[] _keyCentre = [];
    private float[] _queryCentre = [];
    private double[] _offsets = [];
    private double[] _keyUnits = [];

    /// <summary>d, length of rows of K and Q.</summary>
    public int InputWidth { get; private set; }

    /// <summary>p, number of coordinates; d or less.</summary>
    public int Width { get; private set; }

    /// <summary>c (d).</summary>
    public float[] KeyCentre => _keyCentre;

    /// <summary>m (d).</summary>
    public float[] QueryCentre => _queryCentre;

    /// <summary>Orthonormal directions (p, d), or null for the axes.</summary>
    public double[]? Directions { get; private set; }

    /// <summary>Where the keys' coordinates begin along the directions (p).</summary>
    public double[] Offsets => _offsets;

    /// <summary>What a stored key coordinate is multiplied by to undo its scaling (p).</summary>
    public double[] KeyUnits => _keyUnits;

    /// <summary>Begins anew with the axes and no centres.</summary>
    public void Reset(int inputWidth)
    {
        InputWidth = inputWidth;
        LowRankScratch.Renew(ref _keyCentre, inputWidth);
        LowRankScratch.Renew(ref _queryCentre, inputWidth);
        UseAxes();
    }

    /// <summary>Coordinates along the axes.</summary>
    public void UseAxes()
    {
        (Directions, Width) = (null, InputWidth);
        LowRankScratch.Renew(ref _offsets, Width);
    }

    /// <summary>Coordinates along directions.</summary>
    /// <param name="directions">(p, d), orthonormal.</param>
    /// <param name="width">p.</param>
    public void Use(double[] directions, int width)
    {
        (Directions, Width) = (directions, width);
        LowRankScratch.Renew(ref _offsets, width);
    }

    /// <summary>Keeps only the first directions.</summary>
    public void Narrow(int width) => Width = width;

    /// <summary>Scales coordinates by powers of two so that the largest key coordinate lies in [1/2, 1): each by its own, or all by the same.</summary>
    /// <param name="maxima">Largest absolute key coordinates (p).</param>
    /// <param name="each">Whether each has its own factor. A coordinate in which all keys agree is then dropped.</param>
    public void Scale(ReadOnlySpan<double> maxima, bool each)
    {
        double largest = TensorPrimitives.Max(maxima[..Width]);
        LowRankScratch.Renew(ref _keyFactors, 2 * Width);
        LowRankScratch.Renew(ref _queryFactors, 2 * Width);
        LowRankScratch.Renew(ref _keyUnits, Width);
        for (int l = 0; l < Width; l++)
        {
            double maximum = each ? maxima[l] : largest;
            if (maximum > 0 && double.IsFinite(maximum))
            {
                // A direction may hold next to nothing; beyond the limit its coordinates just stay smaller than 1/2.
                int exponent = Math.Max(Math.ILogB(maximum) + 1, -LargestExponent);
                KeyUnits[l] = Math.ScaleB(1, exponent);
                Split(-exponent, _keyFactors.AsSpan(2 * l, 2));
                Split(exponent, _queryFactors.AsSpan(2 * l, 2));
            }
        }
    }

    /// <summary>The power of two 2^exponent, up to 2^±252, as two factors that float32 can hold.</summary>
    public static void Split(int exponent, Span<float> factors)
    {
        factors[0] = MathF.ScaleB(1, exponent / 2);
        factors[1] = MathF.ScaleB(1, exponent - (exponent / 2));
    }

    /// <summary>Stored coordinates of keys.</summary>
    /// <param name="raw">Keys (d, T).</param>
    /// <param name="coordinates">(p, T), output.</param>
    /// <param name="work">(p + 1, T), for directions only.</param>
    /// <param name="residual">Squared length of what the directions miss (T), for directions only; may be empty.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void LoadKeys(ReadOnlySpan<float> raw, Span<float> coordinates, Span<double> work, Span<double> residual)
    {
        if (Directions is not null)
        {
            Project(raw, 1, KeyCentre, work, residual);
            Store(work, Offsets, _keyFactors, coordinates);
            return;
        }

        ReadOnlySpan<Vector512<float>> source = MemoryMarshal.Cast<float, Vector512<float>>(raw);
        Span<Vector512<float>> target = MemoryMarshal.Cast<float, Vector512<float>>(coordinates);
        int vectors = T / Vector512<float>.Count;
        for (int l = 0; l < Width; l++)
        {
            Vector512<float> centre = Vector512.Create(KeyCentre[l]);
            Vector512<float> first = Vector512.Create(_keyFactors[2 * l]);
            Vector512<float> second = Vector512.Create(_keyFactors[(2 * l) + 1]);
            ReadOnlySpan<Vector512<float>> from = source.Slice(l * vectors, vectors);
            Span<Vector512<float>> to = target.Slice(l * vectors, vectors);
            for (int g = 0; g < to.Length; g++)
            {
                to[g] = (from[g] - centre) * first * second;
            }
        }
    }

    /// <summary>Stored coordinates of queries.</summary>
    /// <param name="raw">Queries (d, T), not scaled.</param>
    /// <param name="scale">Factor on the scores.</param>
    /// <param name="coordinates">(p, T), output.</param>
    /// <param name="work">(p + 1, T), for directions only.</param>
    /// <param name="residual">Squared length of what the directions miss (T), for directions only; may be empty.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void LoadQueries(ReadOnlySpan<float> raw, float scale, Span<float> coordinates, Span<double> work, Span<double> residual)
    {
        if (Directions is not null)
        {
            Project(raw, scale, QueryCentre, work, residual);
            Store(work, [], _queryFactors, coordinates);
            return;
        }

        ReadOnlySpan<Vector512<float>> source = MemoryMarshal.Cast<float, Vector512<float>>(raw);
        Span<Vector512<float>> target = MemoryMarshal.Cast<float, Vector512<float>>(coordinates);
        int vectors = T / Vector512<float>.Count;
        Vector512<float> factor = Vector512.Create(scale);
        for (int l = 0; l < Width; l++)
        {
            Vector512<float> centre = Vector512.Create(-QueryCentre[l]);
            Vector512<float> first = Vector512.Create(_queryFactors[2 * l]);
            Vector512<float> second = Vector512.Create(_queryFactors[(2 * l) + 1]);
            ReadOnlySpan<Vector512<float>> from = source.Slice(l * vectors, vectors);
            Span<Vector512<float>> to = target.Slice(l * vectors, vectors);
            for (int g = 0; g < to.Length; g++)
            {
                to[g] = Vector512.FusedMultiplyAdd(factor, from[g], centre) * first * second;
            }
        }
    }

    /// <summary>Coordinates along the directions in double, before offsets and scaling, and what is left.</summary>
    /// <param name="raw">(d, T).</param>
    /// <param name="scale">Factor on the rows.</param>
    /// <param name="centre">What the scaled rows move by (d).</param>
    /// <param name="work">(p + 1, T); the first p rows are the output.</param>
    /// <param name="residual">Squared lengths of the rows, or max(0, |row|^2 - sum of squares) + 2^-40 |row|^2, which covers the rounding of both (T); may be empty.</param>
    /// <param name="lengthsOnly">Whether the lengths are left as they are.</param>
    public void Project(
        ReadOnlySpan<float> raw, float scale, ReadOnlySpan<float> centre, Span<double> work, Span<double> residual, bool lengthsOnly = false)
    {
        Span<double> row = work.Slice(Width * T, T);
        work[..(Width * T)].Clear();
        residual.Clear();
        for (int l = 0; l < InputWidth; l++)
        {
            TensorPrimitives.ConvertTruncating(raw.Slice(l * T, T), row);
            TensorPrimitives.Multiply(row, (double)scale, row);
            TensorPrimitives.Subtract(row, (double)centre[l], row);
            if (!residual.IsEmpty)
            {
                TensorPrimitives.MultiplyAdd(row, row, residual, residual);
            }

            for (int p = 0; p < Width; p++)
            {
                Span<double> sum = work.Slice(p * T, T);
                TensorPrimitives.MultiplyAdd(row, Directions![(p * InputWidth) + l], sum, sum);
            }
        }

        if (!residual.IsEmpty && !lengthsOnly)
        {
            Residual(work, Width, residual);
        }
    }

    /// <summary>Subtracts the squares of the first coordinates from squared lengths.</summary>
    private static void Residual(ReadOnlySpan<double> work, int width, Span<double> lengths)
    {
        for (int t = 0; t < T; t++)
        {
            double rest = lengths[t];
            for (int p = 0; p < width; p++)
            {
                rest -= work[(p * T) + t] * work[(p * T) + t];
            }

            lengths[t] = double.IsNaN(rest) ? rest : Math.Max(0, rest) + (lengths[t] * Rounding);
        }
    }

    /// <summary>Rounding of the difference of squared lengths, and of directions that are not quite orthonormal, for up to 16 directions of at
    /// most 1024 coordinates: 2 d sqrt(p) 2^-53 and as much again.</summary>
    public const double Rounding = 1.0 / (1L << 40);

    private void Store(Span<double> work, ReadOnlySpan<double> offsets, ReadOnlySpan<float> factors, Span<float> coordinates)
    {
        for (int p = 0; p < Width; p++)
        {
            Span<double> row = work.Slice(p * T, T);
            if (!offsets.IsEmpty)
            {
                TensorPrimitives.Subtract(row, offsets[p], row);
            }

            TensorPrimitives.Multiply(row, (double)factors[2 * p] * factors[(2 * p) + 1], row);
            TensorPrimitives.ConvertTruncating<double, float>(row, coordinates.Slice(p * T, T));
        }
    }
}
