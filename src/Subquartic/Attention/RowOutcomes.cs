using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>How the rows of one head were computed.</summary>
internal sealed class RowOutcomes
{
    private byte[] _paths = [];
    private double[] _bounds = [];

    private const byte Flat = 1, Merged = 2;

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

    public double Bound(int row) => _bounds[row];

    public void SetFlat(int row, double bound) => (_paths[row], _bounds[row]) = (Flat, bound);

    public void SetMerged(int row, double bound) => (_paths[row], _bounds[row]) = (Merged, bound);

    public void SetExact(int row, double bound) => _bounds[row] = bound;

    public int FlatRows => Count(Flat);

    public int MergedRows => Count(Merged);

    private int Count(byte path) => _paths.AsSpan(0, Rows).Count(path);
}
