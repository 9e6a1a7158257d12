using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>Memory of one thread that merges keys.</summary>
internal sealed class MergeWorkspace : IDisposable
{
    private FloatBuffer _weights = new(0);
    private FloatBuffer _reference = new(0);
    private FloatBuffer _keys = new(0);
    private FloatBuffer _values = new(0);
    private FloatBuffer _queries = new(0);
    private FloatBuffer _outputs = new(0);

    public KeyCut Cut { get; } = new();

    public List<int> Pending { get; } = [];

    public List<int> Failed { get; } = [];

    /// <summary>exp(q0.k) of every key in leaf order over the largest, and zeros for a vector or two.</summary>
    public Span<float> Weights => _weights.Span();

    /// <summary>A_T, padded.</summary>
    public Span<float> Reference => _reference.Span();

    /// <summary>Keys of the list, with room for all entries of the cut.</summary>
    public Matrix ListKeys { get; private set; }

    /// <summary>Values of the list.</summary>
    public Matrix ListValues { get; private set; }

    /// <summary>Entries so far, the sum of their weights, the largest number of keys of one, and the largest |bias|.</summary>
    public int Entries { get; set; }

    /// <inheritdoc cref="Entries"/>
    public float Total { get; set; }

    /// <inheritdoc cref="Entries"/>
    public int Largest { get; set; }

    /// <inheritdoc cref="Entries"/>
    public float LargestBias { get; set; }

    /// <summary>What the guessed error of the next cut is to be, and the price that may achieve it.</summary>
    public double Target { get; set; }

    /// <inheritdoc cref="Target"/>
    public double Price { get; set; }

    /// <summary>Makes room for weights and A_T.</summary>
    public void Begin(int keys, int valueStride)
    {
        Resize(ref _weights, RowVectors.Padded(keys) + RowVectors.Lanes);
        Resize(ref _reference, valueStride);
    }

    /// <summary>Makes room for a list.</summary>
    public void BeginList(int entries, int keyColumns, int valueColumns)
    {
        ListKeys = View(ref _keys, entries, keyColumns);
        ListValues = View(ref _values, entries, valueColumns);
    }

    public Matrix Queries(int rows, int columns) => View(ref _queries, rows, columns);

    public Matrix Outputs(int rows, int columns) => View(ref _outputs, rows, columns);

    public void Dispose()
    {
        _weights.Dispose();
        _reference.Dispose();
        _keys.Dispose();
        _values.Dispose();
        _queries.Dispose();
        _outputs.Dispose();
    }

    private static void Resize(ref FloatBuffer buffer, long length)
    {
        if (buffer.Length != length)
        {
            buffer.Dispose();
            buffer = new FloatBuffer(length);
        }
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
