using Subquartic.Numerics.Tensors;

namespace Subquartic.Numerics.Kernels;

/// <summary>Keys and values of one head as 16-bit integers, in the order <see cref="KernelSet.QuantizedAttention"/> reads them: with k a key less the shift and v a value less the
/// middle of its column, k^ = round(k / s_k) and v^ = round(v / s_v), one s_k for the head and one s_v for each column.</summary>
/// <remarks>
/// <para>Two integers share 32 bits, whose products with two others one instruction adds up: of a key those of columns i and i + ceil(c/2), of the values those
/// of keys 2j and 2j + 1. Keys are filled up to whole tiles with copies of the last one, values with zeros.</para>
/// <para>Sums of 32 bits do not overflow: |k^| is at most <see cref="LongestInteger"/> + sqrt(c)/2 as that of a query is, and
/// |q^.k^| &lt; 2^31 by Cauchy and Schwarz, for all parts of the sum; <see cref="KeyBlock"/> weights of at most <see cref="LargestWeight"/> times
/// <see cref="LargestValue"/> stay below 2^31 too.</para>
/// </remarks>
public sealed class QuantizedHead : IDisposable
{
    /// <summary>Keys whose weights share a unit, and whose values are summed in integers.</summary>
    public const int KeyBlock = 64;

    /// <summary>A weight of 1 in the unit of its block.</summary>
    public const int LargestWeight = 1 << 14;

    /// <summary>Largest |v^|.</summary>
    public const int LargestValue = 2047;

    /// <summary>Length of the longest query or key, in its unit.</summary>
    public const int LongestInteger = 46000;

    /// <summary>Largest coordinate of a query or key, in its unit.</summary>
    public const int LargestInteger = 32700;

    /// <summary>Largest width c for which the sums above hold.</summary>
    public const int LargestWidth = 1 << 12;

    /// <summary>Columns of values in float32 come in multiples of this.</summary>
    public const int Tile = 8;

    private FloatBuffer _memory = new(0);
    private float[] _columns = [];

    /// <summary>S.</summary>
    public int Rows { get; private set; }

    /// <summary>c.</summary>
    public int Width { get; private set; }

    /// <summary>c_v.</summary>
    public int ValueWidth { get; private set; }

    /// <summary>s_k.</summary>
    public float KeyUnit { get; internal set; }

    /// <summary>What is subtracted from the keys, c values and zeros up to an even number of them.</summary>
    internal Span<float> Shift => _columns.AsSpan(0, 2 * KeyStride);

    /// <summary>Middle of each column of V, zeros behind the last.</summary>
    internal Span<float> Middle => _columns.AsSpan(2 * KeyStride, ValueStride);

    /// <summary>s_v of each column, 0 for one whose values hardly differ.</summary>
    internal Span<float> Unit => _columns.AsSpan((2 * KeyStride) + ValueStride, ValueStride);

    /// <summary>1 / s_v, or 0.</summary>
    internal Span<float> Inverse => _columns.AsSpan(2 * (KeyStride + ValueStride), ValueStride);

    /// <summary>Pairs of a key.</summary>
    internal int KeyStride => (Width + 1) / 2;

    /// <summary>Value columns, in whole tiles.</summary>
    internal int ValueStride => RoundUp(ValueWidth);

    /// <summary>What is added to the scores of each key, times log2(e).</summary>
    internal unsafe float* Bias => _memory.Pointer;

    internal unsafe float* Keys => _memory.Pointer + RoundUp(Rows);

    internal unsafe float* Values => Keys + ((long)RoundUp(Rows) * KeyStride);

    /// <summary>Frees the memory.</summary>
    public void Dispose() => _memory.Dispose();

    /// <summary>The unit of vectors of at most this length and at most these coordinates.</summary>
    /// <remarks>A length whose squares underflow comes out as anything below 1e-18, which is no unit.</remarks>
    internal static float UnitOf(float length, float largest) => Math.Max(1e-18f, Math.Max(length / LongestInteger, largest / LargestInteger));

    /// <summary>Makes room, and takes what is given; the unit of the keys is still to be set.</summary>
    internal void Begin(int rows, int width, int valueWidth, ReadOnlySpan<float> shift, Matrix bias, ReadOnlySpan<float> middle, ReadOnlySpan<float> unit)
    {
        (Rows, Width, ValueWidth) = (rows, width, valueWidth);
        long length = (RoundUp(rows) * (1L + KeyStride)) + ((rows + 1L) / 2 * ValueStride);
        if (_memory.Length < length)
        {
            _memory.Dispose();
            _memory = new FloatBuffer(length);
        }

        int columns = (2 * KeyStride) + (3 * ValueStride);
        if (_columns.Length < columns)
        {
            _columns = new float[columns];
        }

        Array.Clear(_columns);
        shift.CopyTo(Shift);
        middle.CopyTo(Middle);
        unit.CopyTo(Unit);
        Span<float> biases = _memory.Span(0, RoundUp(rows));
        for (int row = 0; row < biases.Length; row++)
        {
            biases[row] = bias.Rows == 0 ? 0 : (float)(bias.Row(Math.Min(row, rows - 1))[0] * Math.Log2(Math.E));
        }

        for (int column = 0; column < valueWidth; column++)
        {
            Inverse[column] = unit[column] > 0 ? 1 / unit[column] : 0;
        }
    }

    private static int RoundUp(int count) => (count + Tile - 1) / Tile * Tile;
}
