using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>Memory of one thread of low-rank attention, reused from block to block. Rows have <see cref="MonomialKernels.Tokens"/> lanes.</summary>
internal sealed class BlockWorkspace : IDisposable
{
    private const int T = MonomialKernels.Tokens;

    private FloatBuffer _raw = new(0);
    private FloatBuffer _coordinates = new(0);
    private FloatBuffer _values = new(0);
    private FloatBuffer _features = new(0);
    private FloatBuffer _coefficients = new(0);
    private FloatBuffer _sums = new(0);
    private double[] _work = [];

    /// <summary>Rows as they are, lane by lane (rows, T).</summary>
    public Span<float> Raw(int rows) => View(ref _raw, rows * T);

    /// <summary>Stored coordinates (p, T).</summary>
    public Span<float> Coordinates(int rows) => View(ref _coordinates, rows * T);

    /// <summary>Values or results (C, T).</summary>
    public Span<float> Values(int rows) => View(ref _values, rows * T);

    /// <summary>Monomials (r, T), rows up to a whole tile.</summary>
    public Span<float> Features(int rows)
    {
        int padded = (rows + MonomialKernels.FeatureTile - 1) / MonomialKernels.FeatureTile * MonomialKernels.FeatureTile;
        Span<float> features = View(ref _features, padded * T);
        features[(rows * T)..].Clear();
        return features;
    }

    /// <summary>Coefficients of every token (g + 1, T).</summary>
    public Span<float> Coefficients(int rows) => View(ref _coefficients, rows * T);

    /// <summary>Partial sums.</summary>
    public Span<float> Sums(int length) => View(ref _sums, length);

    /// <summary>Rows in double (rows, T).</summary>
    public Span<double> Work(int rows)
    {
        if (_work.Length < rows * T)
        {
            _work = GC.AllocateUninitializedArray<double>(rows * T);
        }

        return _work.AsSpan(0, rows * T);
    }

    public void Dispose()
    {
        _raw.Dispose();
        _coordinates.Dispose();
        _values.Dispose();
        _features.Dispose();
        _coefficients.Dispose();
        _sums.Dispose();
    }

    private static Span<float> View(ref FloatBuffer buffer, int length)
    {
        if (buffer.Length < length)
        {
            buffer.Dispose();
            buffer = new FloatBuffer(length);
        }

        return buffer.Span(0, length);
    }
}
