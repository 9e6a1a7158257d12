using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Attention.HigherOrder;

/// <content>The passes over the tokens. A token has columns y_c x_e, y = (values, 1) and x = (1) for the output alone, x = (1, coordinates) for
/// gradients: keys stand with their values, queries with the upstream gradient and -r over the denominator.</content>
internal sealed partial class TensorHead
{
    private const int Block = MonomialKernels.Tokens;
    private const int Chunk = 1024;

    // A pass over the queries, where a set of keys is meant otherwise.
    private const int Queries = -1;

    private readonly ConcurrentBag<BlockWorkspace> _workspaces = [];
    private double[][] _moments = [];
    private double[] _parts = [];
    private float[] _weights = [];
    private double[] _denominators = [];
    private double[] _along = [];
    private double[] _upstreamFactors = [];
    private Matrix _output;
    private TensorGradient _gradient;
    private double _gradientScale;
    private bool _withGradient;

    /// <summary>Coordinates beside each value column: the constant, and all of them for gradients.</summary>
    private int Coordinates => _withGradient ? _basis.Width + 1 : 1;

    private int ColumnCount => MonomialKernels.WholeTiles((_input.ValueWidth + 1) * Coordinates);

    private int Length => _basis.Count * ColumnCount;

    public void Dispose()
    {
        while (_workspaces.TryTake(out BlockWorkspace? work))
        {
            work.Dispose();
        }
    }

    /// <summary>Computes the output.</summary>
    public void Attend(Matrix output)
    {
        (_output, _withGradient) = (output, false);
        SumKeys();
        Weigh(Queries);
        Evaluate(Queries);
    }

    /// <summary>Adds the gradients.</summary>
    public void Backward(Matrix dOutput, in TensorGradient gradient)
    {
        (_output, _gradient, _withGradient) = (dOutput, gradient, true);
        int queries = _input.Queries.Rows, columns = dOutput.Columns;
        Resize(ref _denominators, queries);
        Resize(ref _along, queries);
        Resize(ref _upstreamFactors, columns);
        double largest = 0;
        for (int c = 0; c < columns; c++)
        {
            double factor = 1;
            for (int s = 0; s < _input.Values.Count; s++)
            {
                factor /= ValueScale(s, c);
            }

            _upstreamFactors[c] = factor;
        }

        for (int i = 0; i < queries; i++)
        {
            double sum = 0;
            for (int c = 0; c < columns; c++)
            {
                sum += Math.Abs(dOutput.Row(i)[c] * _upstreamFactors[c]);
            }

            largest = Math.Max(largest, sum);
        }

        _gradientScale = TensorShape.Normalizer(largest);
        SumKeys();
        Weigh(Queries);
        Evaluate(Queries);
        Sum(Queries);
        for (int s = 0; s < _input.Keys.Count; s++)
        {
            Weigh(s);
            Evaluate(s);
        }
    }

    private static void Resize<T>(ref T[] array, int length)
    {
        if (array.Length < length)
        {
            array = new T[length];
        }
    }

    private double ValueScale(int set, int column) => TensorShape.Normalizer(_valueMaxima[set][column]);

    private int Tokens(int source) => source == Queries ? _input.Queries.Rows : _input.Keys[source].Rows;

    private void SumKeys()
    {
        int sets = _input.Keys.Count;
        if (_moments.Length < sets + 1)
        {
            _moments = [.. Enumerable.Range(0, sets + 1).Select(_ => Array.Empty<double>())];
        }

        for (int s = 0; s < sets; s++)
        {
            Sum(s);
        }
    }

    /// <summary>Moments of a set of keys or of the queries: averages of x^alpha times columns. Chunks are joined in their order.</summary>
    private void Sum(int source)
    {
        int tokens = Tokens(source), chunks = (tokens + Chunk - 1) / Chunk, length = Length;
        Resize(ref _parts, chunks * length);
        var body = new PassBody(this, source, sums: true);
        kernels.Pool.Run(chunks, ref body);
        ref double[] moments = ref _moments[source == Queries ? _input.Keys.Count : source];
        Resize(ref moments, length);
        Array.Clear(moments, 0, length);
        for (int chunk = 0; chunk < chunks; chunk++)
        {
            ReadOnlySpan<double> part = _parts.AsSpan(chunk * length, length);
            for (int n = 0; n < part.Length; n++)
            {
                moments[n] += part[n] / tokens;
            }
        }
    }

    /// <summary>What a token's features are multiplied by: c_alpha mult(alpha) times the moments of all others.</summary>
    private void Weigh(int source)
    {
        int columns = ColumnCount;
        Resize(ref _weights, Length);
        for (int m = 0; m <= _basis.Degree; m++)
        {
            for (int alpha = _basis.Start(m); alpha < _basis.Start(m + 1); alpha++)
            {
                double factor = _polynomial.Coefficients[m] * _basis.Multiplicities[alpha];
                for (int n = alpha * columns; n < (alpha + 1) * columns; n++)
                {
                    double product = source == Queries ? factor : factor * _moments[_input.Keys.Count][n];
                    for (int s = 0; s < _input.Keys.Count; s++)
                    {
                        product *= s == source ? 1 : _moments[s][n];
                    }

                    _weights[n] = (float)product;
                }
            }
        }
    }

    private void Evaluate(int source)
    {
        var body = new PassBody(this, source, sums: false);
        kernels.Pool.Run((Tokens(source) + Block - 1) / Block, ref body);
    }

    /// <summary>Coordinates of a block of tokens; those behind the last are 0.</summary>
    private Span<float> Read(int source, int start, int count, BlockWorkspace work)
    {
        Span<float> transposed = work.Coordinates(_basis.Width);
        transposed.Clear();
        for (int t = 0; t < count; t++)
        {
            if (source == Queries)
            {
                _shape.WriteQuery(_input.Queries.Row(start + t), transposed, t);
            }
            else
            {
                _shape.WriteKey(source, _input.Keys[source].Row(start + t), transposed, t);
            }
        }

        return transposed;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void SumChunk(int source, int chunk, BlockWorkspace work)
    {
        int columns = ColumnCount, coordinateCount = Coordinates, width = _input.ValueWidth;
        double[] sums = work.Totals(Length);
        int end = Math.Min(Tokens(source), (chunk + 1) * Chunk);
        for (int start = chunk * Chunk; start < end; start += Block)
        {
            int count = Math.Min(Block, end - start);
            ReadOnlySpan<float> x = Read(source, start, count, work);
            Span<float> target = work.Values(columns);
            target.Clear(); // tokens and columns beyond the last add nothing
            for (int t = 0; t < count; t++)
            {
                ReadOnlySpan<float> row = source == Queries ? _output.Row(start + t) : _input.Values[source].Row(start + t);
                for (int c = 0; c <= width; c++)
                {
                    double y = Column(source, start + t, row, c);
                    int n = (c * coordinateCount * Block) + t;
                    target[n] = (float)y;
                    for (int e = 1; e < coordinateCount; e++)
                    {
                        target[n + (e * Block)] = (float)(y * x[((e - 1) * Block) + t]);
                    }
                }
            }

            work.Fill(_basis);
            work.AddTo(sums, _basis.Count, columns);
        }

        sums.AsSpan(0, Length).CopyTo(_parts.AsSpan(chunk * Length));
    }

    /// <summary>y_c of a token.</summary>
    private double Column(int source, int token, ReadOnlySpan<float> row, int c)
    {
        if (source != Queries)
        {
            return c == row.Length ? 1 : row[c] * ValueScale(source, c);
        }

        double g = c == row.Length ? -_along[token] : row[c] * _upstreamFactors[c];
        return g * _gradientScale / _denominators[token];
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void EvaluateBlock(int source, int block, BlockWorkspace work)
    {
        int start = block * Block, count = Math.Min(Block, Tokens(source) - start);
        Read(source, start, count, work);
        work.Fill(_basis);
        ReadOnlySpan<float> result = work.Evaluate(_weights.AsSpan(0, Length), _basis.Count, ColumnCount);
        for (int t = 0; t < count; t++)
        {
            if (source != Queries)
            {
                AddKey(source, start + t, result[t..]);
            }
            else if (_withGradient)
            {
                AddQuery(start + t, result[t..]);
            }
            else
            {
                Write(start + t, result[t..]);
            }
        }
    }

    private void Write(int query, ReadOnlySpan<float> result)
    {
        Span<float> target = _output.Row(query);
        double denominator = result[target.Length * Block];
        for (int c = 0; c < target.Length; c++)
        {
            double value = result[c * Block] / denominator;
            for (int s = 0; s < _input.Values.Count; s++)
            {
                value /= ValueScale(s, c);
            }

            target[c] = (float)value;
        }
    }

    /// <summary>dq from the gradients of u_col, sum_c g_c sum P v_c x_col, with g_c = -r for the column of ones.</summary>
    private void AddQuery(int query, ReadOnlySpan<float> result)
    {
        ReadOnlySpan<float> upstream = _output.Row(query);
        int stride = Coordinates * Block;
        double denominator = result[upstream.Length * stride], along = 0;
        for (int c = 0; c < upstream.Length; c++)
        {
            along += upstream[c] * _upstreamFactors[c] * (result[c * stride] / denominator);
        }

        (_denominators[query], _along[query]) = (denominator, along);
        Span<float> target = _gradient.Queries.Row(query);
        for (int l = 0; l < target.Length; l++)
        {
            double total = 0;
            for (int col = 0; col < _basis.Width; col++)
            {
                TensorColumn column = _shape.Columns[col];
                if (column.Coordinate == l)
                {
                    double sum = -along * result[(upstream.Length * stride) + ((col + 1) * Block)];
                    for (int c = 0; c < upstream.Length; c++)
                    {
                        sum += upstream[c] * _upstreamFactors[c] * result[(c * stride) + ((col + 1) * Block)];
                    }

                    total += sum * column.QueryFactor;
                }
            }

            target[l] += (float)(total / denominator);
        }
    }

    /// <summary>dv from sum P g, and dk from the gradients of x_col, sum_c v_c sum P g_c u_col.</summary>
    private void AddKey(int set, int key, ReadOnlySpan<float> result)
    {
        ReadOnlySpan<float> values = _input.Values[set].Row(key);
        Span<float> dValues = _gradient.Values[set].Row(key);
        Span<float> dKeys = _gradient.Keys[set].Row(key);
        int stride = Coordinates * Block;
        double factor = (double)_input.Queries.Rows / _input.Keys[set].Rows / _gradientScale;
        for (int c = 0; c < values.Length; c++)
        {
            dValues[c] += (float)(result[c * stride] * factor * ValueScale(set, c));
        }

        for (int l = 0; l < dKeys.Length; l++)
        {
            double total = 0;
            for (int col = 0; col < _basis.Width; col++)
            {
                for (int c = 0; c <= values.Length && _shape.Columns[col].Coordinate == l && _shape.Columns[col].Moves(set); c++)
                {
                    total += Column(set, key, values, c) * result[(c * stride) + ((col + 1) * Block)];
                }
            }

            dKeys[l] += (float)(total * factor * _shape.KeyScale(set, l));
        }
    }

    private readonly struct PassBody(TensorHead head, int source, bool sums) : IParallelBody
    {
        public void Invoke(int task)
        {
            BlockWorkspace work = head._workspaces.TryTake(out BlockWorkspace? free) ? free : new BlockWorkspace();
            if (sums)
            {
                head.SumChunk(source, task, work);
            }
            else
            {
                head.EvaluateBlock(source, task, work);
            }

            head._workspaces.Add(work);
        }
    }
}
