using Subquartic.Criteria;
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
    private double[] _totals = [];

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

    /// <summary>Sums over many blocks, in double, cleared.</summary>
    public double[] Totals(int length)
    {
        if (_totals.Length < length)
        {
            _totals = new double[length];
        }

        Array.Clear(_totals, 0, length);
        return _totals;
    }

    /// <summary>Computes all monomials of the coordinates of a block.</summary>
    public void Fill(MonomialBasis basis) => MonomialKernels.Fill(basis.Runs, Coordinates(basis.Width), Features(basis.Count));

    /// <summary>totals[alpha, c] += the sum over a block of monomial alpha times value c: in float32 T/16 multiply-adds in each lane and 15 additions of lanes, in double beyond.</summary>
    public void AddTo(Span<double> totals, int features, int columns)
    {
        Span<float> sums = Sums(MonomialKernels.SumsLength(features, columns));
        sums.Clear();
        MonomialKernels.Add(features, Features(features), columns, Values(columns), sums);
        MonomialKernels.Join(sums, features, columns, totals);
    }

    /// <summary>For every token of a block the sum over alpha of monomial alpha times moments[alpha, c], in float32: (C, T), in the place of the values.</summary>
    public Span<float> Evaluate(ReadOnlySpan<float> moments, int features, int columns)
    {
        Span<float> one = Coefficients(1);
        one.Fill(1);
        Span<float> result = Values(columns);
        MonomialKernels.Evaluate(Features(features), [0, features], moments, columns, one, result);
        return result;
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
