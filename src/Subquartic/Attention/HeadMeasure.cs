using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Attention;

/// <summary>One head, and what one pass over its queries, keys and values tells. Objects are reused from head to head.</summary>
internal sealed class HeadMeasure(KernelSet kernels)
{
    private const int Chunk = 512;

    // Beyond these, squares and sums of float32 come too near its range.
    private const double LargestNorm = 1e15, LargestSum = 1e30;

    private float[] _sums = [];
    private float[] _least = [];
    private float[] _most = [];
    private float[] _squares = [];
    private float[] _poison = [];
    private float[] _queryMean = [];
    private float[] _keyMean = [];
    private double[] _columnLeast = [];
    private double[] _columnMost = [];
    private Matrix _current;
    private bool _wantsExtremes;

    public Matrix Queries { get; private set; }

    public Matrix Keys { get; private set; }

    public Matrix Values { get; private set; }

    public float Scale { get; private set; }

    /// <summary>Mean query times scale, padded; a float32 vector near the mean is all that is needed.</summary>
    public ReadOnlySpan<float> QueryMean => _queryMean.AsSpan(0, RowVectors.Padded(Queries.Columns));

    /// <summary>A float32 vector near the mean key, padded. Subtracting it from all keys leaves the softmax as it is.</summary>
    public ReadOnlySpan<float> KeyMean => _keyMean.AsSpan(0, RowVectors.Padded(Keys.Columns));

    /// <summary>Least value of a column of V, and the largest one.</summary>
    public ReadOnlySpan<double> ColumnLeast => _columnLeast.AsSpan(0, Values.Columns);

    public ReadOnlySpan<double> ColumnMost => _columnMost.AsSpan(0, Values.Columns);

    /// <summary>At least |scale| |q| for all queries.</summary>
    public double LongestQuery { get; private set; }

    /// <summary>At least |k| for all keys.</summary>
    public double LongestKey { get; private set; }

    /// <summary>Largest range of a column of V.</summary>
    public double Range { get; private set; }

    /// <summary>max |V|.</summary>
    public double LargestValue { get; private set; }

    /// <summary>Whether every value given is finite.</summary>
    public bool IsFinite { get; private set; }

    /// <summary>Why nothing but exact attention will do, or null.</summary>
    public string? Refusal { get; private set; }

    /// <summary>Rounding bound of rows computed exactly, in units of V; infinite when a value is not finite.</summary>
    public double ExactBound { get; private set; }

    /// <summary>Reads a head.</summary>
    public void Begin(Matrix queries, Matrix keys, Matrix values, float scale)
    {
        (Queries, Keys, Values, Scale) = (queries, keys, values, scale);
        bool finite = float.IsFinite(scale);
        LongestQuery = Math.Abs((double)scale) * Scan(queries, ref finite);
        Join(queries, scale, ref _queryMean);
        LongestKey = Scan(keys, ref finite);
        Join(keys, 1, ref _keyMean);
        Resize(ref _least, Chunks(values) * values.Columns);
        Resize(ref _most, Chunks(values) * values.Columns);
        Run(values, wantsExtremes: true, ref finite);
        JoinExtremes();
        IsFinite = finite;
        ExactBound = finite
            ? ExactAttention.RoundingBound(keys.Columns, keys.Rows, LongestQuery * LongestKey, LargestValue)
            : double.PositiveInfinity;
        Refusal = !finite ? "a value is not finite"
            : !(LongestQuery < LargestNorm && LongestKey < LargestNorm && LargestValue * LongestKey * keys.Rows < LargestSum)
                ? "values near the end of the range of float32" : null;
        if (double.IsNaN(ExactBound))
        {
            ExactBound = double.PositiveInfinity;
        }
    }

    /// <summary>An array of at least that length.</summary>
    public static void Resize<T>(ref T[] array, int length)
    {
        if (array.Length < length)
        {
            array = new T[length];
        }
    }

    /// <summary>Column sums by chunks; returns a bound on the longest row.</summary>
    private double Scan(Matrix x, ref bool finite)
    {
        int chunks = Chunks(x);
        Resize(ref _sums, chunks * x.Columns);
        Resize(ref _squares, chunks);
        Run(x, wantsExtremes: false, ref finite);
        double longest = 0;
        for (int chunk = 0; chunk < chunks; chunk++)
        {
            longest = Math.Max(longest, _squares[chunk]); // keeps a NaN
        }

        // Squares that underflow change a sum by less than 2^-149 each.
        return Math.Sqrt((longest * (1 + ExactAttention.Gamma(x.Columns + 2))) + (x.Columns * (double)float.Epsilon));
    }

    private void Run(Matrix x, bool wantsExtremes, ref bool finite)
    {
        int chunks = Chunks(x);
        Resize(ref _poison, chunks);
        (_current, _wantsExtremes) = (x, wantsExtremes);
        var body = new Body(this);
        kernels.Pool.Run(chunks, ref body);
        for (int chunk = 0; chunk < chunks; chunk++)
        {
            finite &= float.IsFinite(_poison[chunk]);
        }
    }

    private static int Chunks(Matrix x) => (x.Rows + Chunk - 1) / Chunk;

    private void Join(Matrix x, double scale, ref float[] mean)
    {
        Resize(ref mean, RowVectors.Padded(x.Columns));
        Array.Clear(mean);
        for (int c = 0; c < x.Columns; c++)
        {
            double sum = 0;
            for (int chunk = 0; chunk < Chunks(x); chunk++)
            {
                sum += _sums[(chunk * x.Columns) + c];
            }

            mean[c] = (float)(sum * scale / Math.Max(1, x.Rows));
        }
    }

    private void JoinExtremes()
    {
        int columns = Values.Columns;
        Resize(ref _columnLeast, columns);
        Resize(ref _columnMost, columns);
        (Range, LargestValue) = (0, 0);
        for (int c = 0; c < columns; c++)
        {
            double least = double.PositiveInfinity, most = double.NegativeInfinity;
            for (int chunk = 0; chunk < Chunks(Values); chunk++)
            {
                least = Math.Min(least, _least[(chunk * columns) + c]);
                most = Math.Max(most, _most[(chunk * columns) + c]);
            }

            (_columnLeast[c], _columnMost[c]) = (least, most);
            Range = Math.Max(Range, most - least);
            LargestValue = Math.Max(LargestValue, Math.Max(Math.Abs(least), Math.Abs(most)));
        }
    }

    private void ScanChunk(int chunk)
    {
        int columns = _current.Columns, first = chunk * Chunk, count = Math.Min(Chunk, _current.Rows - first);
        float poison = 0;
        if (_wantsExtremes)
        {
            RowVectors.Extremes(_current, first, count, _least.AsSpan(chunk * columns, columns), _most.AsSpan(chunk * columns, columns), ref poison);
        }
        else
        {
            Span<float> rows = stackalloc float[Chunk];
            _squares[chunk] = RowVectors.Measure(_current, first, rows[..count], _sums.AsSpan(chunk * columns, columns), ref poison);
        }

        _poison[chunk] = poison;
    }

    private readonly struct Body(HeadMeasure head) : IParallelBody
    {
        public void Invoke(int task) => head.ScanChunk(task);
    }
}
