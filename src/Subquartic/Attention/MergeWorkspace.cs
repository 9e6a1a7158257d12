using System.Runtime.Intrinsics;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>Memory of one thread that merges keys.</summary>
internal sealed class MergeWorkspace : IDisposable
{
    private int _keyStride;
    private int _valueStride;
    private FloatBuffer _weights = new(0);
    private FloatBuffer _reference = new(0);
    private FloatBuffer _places = new(0);
    private FloatBuffer _scatter = new(0);
    private float[] _kappa = [];
    private float[] _ratios = [];
    private FloatBuffer _keys = new(0);
    private FloatBuffer _values = new(0);
    private FloatBuffer _queries = new(0);
    private FloatBuffer _outputs = new(0);
    private FloatBuffer _statistics = new(0);

    public KeyCut Cut { get; } = new();

    public List<int> Pending { get; } = [];

    public List<int> Failed { get; } = [];

    /// <summary>exp(q0.k) of every key in leaf order over the largest.</summary>
    public Span<float> Weights => _weights.Span();

    /// <summary>q0.k of every key, less the largest and at least -80.</summary>
    public Span<float> Pilots => _places.Span(0, Keys);

    /// <summary>The four g.k of every key, key by key.</summary>
    public Span<float> Places => _places.Span(Keys, MergeTile.Directions * Keys);

    /// <summary>Number of keys.</summary>
    public int Keys { get; private set; }

    /// <summary>A_T, padded: values near what the pilot's weights make of them.</summary>
    public Span<float> Reference => _reference.Span(0, _valueStride);

    /// <summary>c_T, padded: a vector near the mean key under the pilot's weights.</summary>
    public Span<float> Origin => _reference.Span(_valueStride, _keyStride);

    /// <summary>The g.c_T.</summary>
    public Vector128<float> OriginPlaces { get; set; }

    /// <summary>Sum of the keys of the list, each times its weight, padded.</summary>
    public Span<float> Centre => _reference.Span(_valueStride + _keyStride, _keyStride);

    /// <summary>Merged nodes of the block that is being added.</summary>
    public MergeNotes Notes { get; } = new();

    /// <summary>Factors of the scatters, depth by depth of each block.</summary>
    public Span<float> Kappa => _kappa;

    /// <summary>M, its upper triangle (<see cref="RowVectors.TriangleLength"/>).</summary>
    public Span<float> Scatter => _scatter.Span();

    /// <summary>Largest h D of an entry, by groups of columns.</summary>
    public float[] Tilts { get; } = new float[RowVectors.Lanes];

    /// <summary>Bound over tolerance of so many rows of a tile.</summary>
    public Span<float> Ratios(int rows)
    {
        HeadMeasure.Resize(ref _ratios, rows);
        return _ratios.AsSpan(0, rows);
    }

    /// <summary>Largest h of an entry.</summary>
    public float Widest { get; set; }

    /// <summary>Largest distance of a centroid from the mean key under the pilot's weights.</summary>
    public float Farthest { get; set; }

    /// <summary>The same along the g, each times the tile's deviation.</summary>
    public float Steepest { get; set; }

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
    public void Begin(int keys, int keyStride, int valueStride, int scatters)
    {
        (Keys, _keyStride, _valueStride) = (keys, keyStride, valueStride);
        Resize(ref _weights, keys);
        Resize(ref _places, (1L + MergeTile.Directions) * keys);
        Resize(ref _reference, (2 * keyStride) + valueStride);
        Resize(ref _scatter, RowVectors.TriangleLength(keyStride));
        if (_kappa.Length != scatters)
        {
            _kappa = new float[scatters];
        }
    }

    /// <summary>Makes room for a list.</summary>
    public void BeginList(int entries, int keyColumns, int valueColumns)
    {
        ListKeys = View(ref _keys, entries, keyColumns);
        ListValues = View(ref _values, entries, valueColumns);
    }

    public Matrix Queries(int rows, int columns) => View(ref _queries, rows, columns);

    /// <summary>What the kernel of integers says of each row.</summary>
    public Matrix Statistics(int rows) => View(ref _statistics, rows, 2);

    /// <summary>The list in integers.</summary>
    public QuantizedHead Integers { get; } = new();

    public Matrix Outputs(int rows, int columns) => View(ref _outputs, rows, columns);

    public void Dispose()
    {
        _weights.Dispose();
        _reference.Dispose();
        _places.Dispose();
        _scatter.Dispose();
        _keys.Dispose();
        _values.Dispose();
        _queries.Dispose();
        _outputs.Dispose();
        _statistics.Dispose();
        Integers.Dispose();
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
