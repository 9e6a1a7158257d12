using Subquartic.Criteria;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>Memory of one <see cref="LowRankGradient"/>, and the sums over monomials in it. Tokens are handled in blocks, coordinate by coordinate.</summary>
internal sealed class GradientWorkspace : IDisposable
{
    /// <summary>Tokens of a block, summed in float32.</summary>
    public const int Block = 128;

    private FloatBuffer _coordinates = new(0);
    private FloatBuffer _columns = new(0);
    private FloatBuffer _features = new(0);
    private double[] _sums = [];
    private Matrix _monomials;

    /// <summary>The next number of columns that sums come in.</summary>
    public static int Tiles(int columns) => (columns + MonomialSums.Tile - 1) / MonomialSums.Tile * MonomialSums.Tile;

    /// <summary>Coordinates of a block (d, Block), cleared.</summary>
    public Span<float> Coordinates(int width)
    {
        Span<float> coordinates = View(ref _coordinates, width).Span();
        coordinates.Clear();
        return coordinates;
    }

    /// <summary>Columns of a block (C, Block), cleared.</summary>
    public Span<float> Columns(int columns)
    {
        Span<float> values = View(ref _columns, columns).Span();
        values.Clear();
        return values;
    }

    /// <summary>Sums (r, C) in double, cleared.</summary>
    public double[] Sums(int features, int columns)
    {
        if (_sums.Length < features * columns)
        {
            _sums = new double[features * columns];
        }

        Array.Clear(_sums, 0, features * columns);
        return _sums;
    }

    /// <summary>Computes the monomials of the coordinates.</summary>
    public void Fill(MonomialBasis basis)
    {
        _monomials = View(ref _features, basis.Count);
        MonomialSums.Fill(basis, View(ref _coordinates, basis.Width), _monomials);
    }

    /// <summary>sums[alpha, c] += sum over the block of monomial alpha times column c.</summary>
    public void Add(int columns, double[] sums) => MonomialSums.Add(_monomials, View(ref _columns, columns), sums);

    /// <summary>sum over alpha of monomial alpha times moments[alpha, c], for the tokens of the block: (C, Block).</summary>
    public ReadOnlySpan<float> Evaluate(float[] moments, int columns)
    {
        Matrix result = View(ref _columns, columns);
        MonomialSums.Evaluate(_monomials, moments, result);
        return result.Span();
    }

    public void Dispose()
    {
        _coordinates.Dispose();
        _columns.Dispose();
        _features.Dispose();
    }

    private static Matrix View(ref FloatBuffer buffer, int rows)
    {
        if (buffer.Length < (long)rows * Block)
        {
            buffer.Dispose();
            buffer = new FloatBuffer((long)rows * Block);
        }

        return buffer.Matrix(rows, Block);
    }
}
