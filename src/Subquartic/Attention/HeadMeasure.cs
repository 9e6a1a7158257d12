using System.Numerics.Tensors;
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
    private double[] _squareSums = [];
    private float[] _poison = [];
    private float[] _queryMean = [];
    private float[] _keyMean = [];
    private double[] _columnLeast = [];
    private double[] _columnMost = [];

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

    /// <summary>|scale| times a typical length of a query, and that of a key less the mean key: root mean squares, which serve estimates alone.</summary>
    public double TypicalQuery { get; private set; }

    /// <inheritdoc cref="TypicalQuery"/>
    public double TypicalKey { get; private set; }

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
        int columns = queries.Columns, forQueries = Chunks(queries), forKeys = Chunks(keys), chunks = forQueries + forKeys + Chunks(values);
        Resize(ref _sums, (forQueries + forKeys) * columns);
        Resize(ref _squares, forQueries + forKeys);
        Resize(ref _squareSums, forQueries + forKeys);
        Resize(ref _least, Chunks(values) * values.Columns);
        Resize(ref _most, Chunks(values) * values.Columns);
        Resize(ref _poison, chunks);
        var body = new Body(this);
        kernels.Pool.Run(chunks, ref body);
        bool finite = float.IsFinite(scale);
        foreach (float poison in _poison.AsSpan(0, chunks))
        {
            finite &= float.IsFinite(poison);
        }

        LongestQuery = Math.Abs((double)scale) * Longest(queries, 0);
        Join(queries, 0, scale, ref _queryMean);
        LongestKey = Longest(keys, forQueries);
        Join(keys, forQueries, 1, ref _keyMean);
        TypicalQuery = Math.Abs((double)scale) * Math.Sqrt(MeanSquare(0, forQueries, queries.Rows));
        TypicalKey = Math.Sqrt(Math.Max(0, MeanSquare(forQueries, forKeys, keys.Rows) - TensorPrimitives.SumOfSquares(KeyMean)));
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

    /// <summary>A bound on the longest row; its chunks start at <paramref name="first"/>.</summary>
    private double Longest(Matrix x, int first)
    {
        double longest = 0;
        foreach (float square in _squares.AsSpan(first, Chunks(x)))
        {
            longest = Math.Max(longest, square); // keeps a NaN
        }

        // Squares that underflow change a sum by less than 2^-149 each.
        return Math.Sqrt((longest * (1 + ExactAttention.Gamma(x.Columns + 2))) + (x.Columns * (double)float.Epsilon));
    }

    private double MeanSquare(int first, int chunks, int rows) => TensorPrimitives.Sum<double>(_squareSums.AsSpan(first, chunks)) / Math.Max(1, rows);

    private static int Chunks(Matrix x) => (x.Rows + Chunk - 1) / Chunk;

    private void Join(Matrix x, int first, double scale, ref float[] mean)
    {
        Resize(ref mean, RowVectors.Padded(x.Columns));
        Array.Clear(mean);
        for (int c = 0; c < x.Columns; c++)
        {
            double sum = 0;
            for (int chunk = 0; chunk < Chunks(x); chunk++)
            {
                sum += _sums[((first + chunk) * x.Columns) + c];
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

    /// <summary>Scans a chunk: of the queries first, then of the keys, then of the values.</summary>
    private void Scan(int task)
    {
        int columns = Queries.Columns, chunk = task - Chunks(Queries);
        Matrix x = chunk < 0 ? Queries : Keys;
        float poison = 0;
        if (chunk >= Chunks(Keys))
        {
            chunk -= Chunks(Keys);
            columns = Values.Columns;
            (int first, int count) = Rows(Values, chunk);
            RowVectors.Extremes(Values, first, count, _least.AsSpan(chunk * columns, columns), _most.AsSpan(chunk * columns, columns), ref poison);
        }
        else
        {
            (int first, int count) = Rows(x, chunk < 0 ? task : chunk);
            Span<float> rows = stackalloc float[Chunk];
            _squares[task] = RowVectors.Measure(x, first, rows[..count], _sums.AsSpan(task * columns, columns), ref poison);
            _squareSums[task] = TensorPrimitives.Sum<float>(rows[..count]);
        }

        _poison[task] = poison;
    }

    private static (int First, int Count) Rows(Matrix x, int chunk) => (chunk * Chunk, Math.Min(Chunk, x.Rows - (chunk * Chunk)));

    private readonly struct Body(HeadMeasure head) : IParallelBody
    {
        public void Invoke(int task) => head.Scan(task);
    }
}
