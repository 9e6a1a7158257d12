using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>Memory of one thread that merges keys.</summary>
internal sealed class MergeWorkspace : IDisposable
{
    private FloatBuffer _keys = new(0);
    private FloatBuffer _values = new(0);
    private FloatBuffer _queries = new(0);
    private FloatBuffer _outputs = new(0);

    public KeyCut Cut { get; } = new();

    public List<int> Nodes { get; } = [];

    public List<int> Pending { get; } = [];

    public List<int> Failed { get; } = [];

    public Matrix Keys(int rows, int columns) => View(ref _keys, rows, columns);

    public Matrix Values(int rows, int columns) => View(ref _values, rows, columns);

    public Matrix Queries(int rows, int columns) => View(ref _queries, rows, columns);

    public Matrix Outputs(int rows, int columns) => View(ref _outputs, rows, columns);

    public void Dispose()
    {
        _keys.Dispose();
        _values.Dispose();
        _queries.Dispose();
        _outputs.Dispose();
    }

    private static Matrix View(ref FloatBuffer buffer, int rows, int columns)
    {
        long length = (long)rows * columns;
        if (buffer.Length < length)
        {
            buffer.Dispose();
            buffer = new FloatBuffer(length + (length / 4));
        }

        return buffer.Matrix(rows, columns);
    }
}
