using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>How the rows of one head were computed.</summary>
internal sealed class RowOutcomes
{
    private byte[] _paths = [];
    private double[] _bounds = [];

    private const byte Flat = 1, Merged = 2, Audited = 3, Quantized = 4;

    public int Rows { get; private set; }

    public Matrix Output { get; private set; }

    public void Begin(Matrix output)
    {
        (Output, Rows) = (output, output.Rows);
        HeadMeasure.Resize(ref _paths, Rows);
        HeadMeasure.Resize(ref _bounds, Rows);
        Array.Clear(_paths);
    }

    public bool IsPending(int row) => _paths[row] == 0;

    public bool AnyPending => _paths.AsSpan(0, Rows).Contains((byte)0);

    public ReadOnlySpan<double> Bounds => _bounds.AsSpan(0, Rows);

    /// <summary>All rows with one bound.</summary>
    public void SetFlat(double bound)
    {
        _paths.AsSpan(0, Rows).Fill(Flat);
        _bounds.AsSpan(0, Rows).Fill(bound);
    }

    public void SetFlat(int row, double bound) => (_paths[row], _bounds[row]) = (Flat, bound);

    public void SetMerged(int row, double bound) => (_paths[row], _bounds[row]) = (Merged, bound);

    public void SetQuantized(int row, double bound) => (_paths[row], _bounds[row]) = (Quantized, bound);

    /// <summary>A row of merged keys without a bound.</summary>
    public void SetAudited(int row) => (_paths[row], _bounds[row]) = (Audited, double.PositiveInfinity);

    public void SetExact(int row, double bound) => (_paths[row], _bounds[row]) = (0, bound);

    /// <summary>Takes back what was computed without a bound.</summary>
    public void ForgetAudited()
    {
        for (int row = 0; row < Rows; row++)
        {
            _paths[row] = _paths[row] == Audited ? (byte)0 : _paths[row];
        }
    }

    public bool IsAudited(int row) => _paths[row] == Audited;

    public int AuditedRows => Count(Audited);

    public int FlatRows => Count(Flat);

    public int MergedRows => Count(Merged);

    public int QuantizedRows => Count(Quantized);

    private int Count(byte path) => _paths.AsSpan(0, Rows).Count(path);
}
