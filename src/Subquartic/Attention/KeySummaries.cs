using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Attention;

/// <summary>Keys less their mean and values of a head in leaf order, and what every node of the tree knows about its own: a
/// reference point r near the mean key, the mean of |k - r|^2, the largest |k - r|, and the same for values by columns.</summary>
/// <remarks>The points are float32 vectors near the means. Every spread is measured from the very point stored, which bounds the
/// spread about any weighted mean, since that is the least; sums of squares are rounded up by <see cref="Up"/>.</remarks>
internal sealed class KeySummaries(KernelSet kernels) : IDisposable
{
    /// <summary>Covers the rounding of sums of up to 256 x 1024 squares in float32 that begin anew with each key.</summary>
    private const float Up = 1 + 1e-4f;

    private const int SampledBlocks = 6;

    private FloatBuffer _keys = new(0);
    private FloatBuffer _values = new(0);
    private FloatBuffer _points = new(0);
    private float[] _keySpread = [];
    private float[] _keyRadius = [];
    private float[] _valueSpread = [];
    private FloatBuffer _groups = new(0);
    private FloatBuffer _scatters = new(0);
    private float[] _first = [];
    private float[] _second = [];
    private float[] _blockRadius = [];
    private HeadMeasure _head = null!;

    public KeyTree Tree { get; private set; } = null!;

    public int KeyStride { get; private set; }

    public int ValueStride { get; private set; }

    /// <summary>(S, c) with zeros up to <see cref="KeyStride"/>.</summary>
    public Matrix Keys => new(_keys, 0, Tree.Order.Length, _head.Keys.Columns, KeyStride);

    /// <summary>At least |k| after the shift, for every key.</summary>
    public double LongestKey { get; private set; }

    /// <summary>At least the mean of |k - r|^2, by node.</summary>
    public float[] KeySpread => _keySpread;

    /// <summary>At least |k - r| for all keys, by node.</summary>
    public float[] KeyRadius => _keyRadius;

    /// <summary>Root of the mean of (v_j - r_j)^2 over keys and columns, by node; plans with it, proves nothing.</summary>
    public float[] ValueSpread => _valueSpread;

    /// <summary>At least the mean of (v_j - r_j)^2 for the columns j of each group, by node.</summary>
    public ReadOnlySpan<float> GroupVariances(int node) => _groups.Span((long)node * RowVectors.Lanes, RowVectors.Lanes);

    /// <summary>Sum of (k - m)(k - m)^T over the keys k of the nodes of one depth in a block, m the mean key of the node: its upper triangle, as <see cref="RowVectors.TriangleLength"/> says.</summary>
    public ReadOnlySpan<float> Scatter(int block, int depth) => ScatterOf(block, depth);

    /// <summary>Terms of the guess of a node's share of the error, linear and square in |u|.</summary>
    public ReadOnlySpan<float> First => _first.AsSpan(0, Tree.NodeCount);

    /// <inheritdoc cref="First"/>
    public ReadOnlySpan<float> Second => _second.AsSpan(0, Tree.NodeCount);

    /// <summary>The keys of a place range, padded rows.</summary>
    public ReadOnlySpan<float> KeyRows(int start, int count) => _keys.Span((long)start * KeyStride, count * KeyStride);

    /// <inheritdoc cref="KeyRows"/>
    public ReadOnlySpan<float> ValueRows(int start, int count) => _values.Span((long)start * ValueStride, count * ValueStride);

    /// <summary>The key's reference point of a node, padded.</summary>
    public ReadOnlySpan<float> KeyPoint(int node) => _points.Span((long)node * (KeyStride + ValueStride), KeyStride);

    /// <summary>The values' reference point of a node, padded.</summary>
    public ReadOnlySpan<float> ValuePoint(int node) => _points.Span(((long)node * (KeyStride + ValueStride)) + KeyStride, ValueStride);

    /// <summary>Places of the keys of a block.</summary>
    public (int Start, int End) PlacesOf(int block)
    {
        int root = Tree.BlockEnds[block] - 1;
        return (Tree.Start[root], Tree.Start[root] + Tree.Count[root]);
    }

    /// <summary>Brings <see cref="KeyPoint"/> and <see cref="GroupVariances"/> nearer before they are read.</summary>
    public void Prefetch(int node)
    {
        _points.Prefetch((long)node * (KeyStride + ValueStride), KeyStride);
        _groups.Prefetch((long)node * RowVectors.Lanes, RowVectors.Lanes);
    }

    /// <summary>Makes room for a head.</summary>
    public void Begin(HeadMeasure head, KeyTree tree)
    {
        (_head, Tree) = (head, tree);
        KeyStride = RowVectors.Padded(head.Keys.Columns);
        ValueStride = RowVectors.Padded(head.Values.Columns);
        int keys = tree.Order.Length, nodes = tree.NodeCount;
        Grow(ref _keys, (long)keys * KeyStride);
        Grow(ref _values, (long)keys * ValueStride);
        Grow(ref _points, (long)nodes * (KeyStride + ValueStride));
        HeadMeasure.Resize(ref _keySpread, nodes);
        HeadMeasure.Resize(ref _keyRadius, nodes);
        HeadMeasure.Resize(ref _valueSpread, nodes);
        Grow(ref _groups, (long)nodes * RowVectors.Lanes);
        Grow(ref _scatters, (long)tree.BlockEnds.Length * tree.Depths * RowVectors.TriangleLength(KeyStride));
        HeadMeasure.Resize(ref _first, nodes);
        HeadMeasure.Resize(ref _second, nodes);
        HeadMeasure.Resize(ref _blockRadius, tree.BlockEnds.Length);
    }

    /// <summary>A few blocks of the tree, spread evenly, that stand for all.</summary>
    public int[] SampleBlocks()
    {
        int blocks = Tree.BlockEnds.Length, samples = Math.Min(SampledBlocks, blocks);
        return [.. Enumerable.Range(0, samples).Select(i => (int)(((2L * i) + 1) * blocks / (2 * samples)))];
    }

    /// <summary>Guesses the error of merging every leaf, from a few blocks of the tree.</summary>
    /// <param name="length">A typical largest |u| of a tile.</param>
    /// <returns>The guess, in units of V.</returns>
    public double LeafError(double length)
    {
        int[] sample = SampleBlocks();
        Run(sample, leavesOnly: true, scatters: false);
        double error = 0, keys = 0;
        foreach (int block in sample)
        {
            for (int node = block == 0 ? 0 : Tree.BlockEnds[block - 1]; node < Tree.BlockEnds[block]; node++)
            {
                if (Tree.Left[node] < 0 && Tree.Count[node] > 1)
                {
                    error += Tree.Count[node] * length * (_first[node] + (length * _second[node]));
                    keys += Tree.Count[node];
                }
            }
        }

        return error / Math.Max(1, keys);
    }

    /// <summary>Reads the keys and values of some blocks only, all nodes of them.</summary>
    public void BuildSample(int[] blocks) => Run(blocks, leavesOnly: false, scatters: false);

    /// <summary>Reads the keys and values.</summary>
    /// <param name="scatters">Whether <see cref="Scatter"/> will be asked for.</param>
    public void Build(bool scatters)
    {
        int blocks = Tree.BlockEnds.Length;
        Run([.. Enumerable.Range(0, blocks)], leavesOnly: false, scatters);
        LongestKey = Math.Sqrt(TensorPrimitives.Max<float>(_blockRadius.AsSpan(0, blocks)) * (1 + 1e-4)) + 1e-22;
    }

    public void Dispose()
    {
        _keys.Dispose();
        _values.Dispose();
        _points.Dispose();
        _groups.Dispose();
        _scatters.Dispose();
    }

    private void Run(int[] blocks, bool leavesOnly, bool scatters)
    {
        var body = new Body(this, blocks, leavesOnly, scatters);
        kernels.Pool.Run(blocks.Length, ref body);
    }

    private static void Grow(ref FloatBuffer buffer, long length)
    {
        if (buffer.Length < length)
        {
            buffer.Dispose();
            buffer = new FloatBuffer(length);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Block(int block, bool leavesOnly)
    {
        int first = block == 0 ? 0 : Tree.BlockEnds[block - 1], end = Tree.BlockEnds[block];
        using Scratch scratch = Scratch.Rent(KeyStride + (2 * ValueStride));
        Span<float> squares = scratch.Buffer.Span(0, KeyStride + ValueStride), centre = scratch.Buffer.Span(squares.Length, ValueStride);
        centre.Clear();
        for (int c = 0; c < _head.Values.Columns; c++)
        {
            centre[c] = (float)(0.5 * (_head.ColumnMost[c] + _head.ColumnLeast[c]));
        }

        int start = Tree.Start[end - 1];
        Span<float> equal = stackalloc float[KeyTree.MaxCount];
        equal.Fill(1);
        float longest = 0;
        for (int place = start; place < start + Tree.Count[end - 1]; place++)
        {
            int key = Tree.Order[place];
            longest = Math.Max(longest, RowVectors.Shift(_head.Keys.Row(key), 1, _head.KeyMean, _keys.Span((long)place * KeyStride, KeyStride)));
            ReadOnlySpan<float> value = _head.Values.Row(key);
            Span<float> copy = _values.Span((long)place * ValueStride, ValueStride);
            value.CopyTo(copy);
            copy[value.Length..].Clear();
        }

        _blockRadius[block] = longest;
        for (int node = first; node < end; node++)
        {
            int count = Tree.Count[node], left = Tree.Left[node];
            if (leavesOnly && left >= 0)
            {
                continue;
            }

            Span<float> point = _points.Span((long)node * squares.Length, squares.Length);
            Span<float> keyPoint = point[..KeyStride], valuePoint = point[KeyStride..];
            ReadOnlySpan<float> keys = KeyRows(Tree.Start[node], count), values = ValueRows(Tree.Start[node], count);
            if (left < 0)
            {
                RowVectors.WeightedSum(keys, equal[..count], 1f / count, keyPoint);
                RowVectors.WeightedSum(values, equal[..count], 1f / count, valuePoint);
            }
            else
            {
                ReadOnlySpan<float> a = _points.Span((long)left * squares.Length, squares.Length);
                ReadOnlySpan<float> b = _points.Span((long)(node - 1) * squares.Length, squares.Length);
                TensorPrimitives.Multiply(a, (float)Tree.Count[left] / count, squares);
                TensorPrimitives.MultiplyAdd(b, (float)Tree.Count[node - 1] / count, squares, point);
            }

            _keySpread[node] = (RowVectors.Distances(keys, keyPoint, out float largest) / count * Up) + 1e-44f;
            _keyRadius[node] = MathF.Sqrt(largest * Up) + 1e-22f;
            float valueSquares = RowVectors.ColumnDistances(values, valuePoint, out Vector512<float> groups);
            ((groups * Vector512.Create(Up / count)) + Vector512.Create(1e-44f)).CopyTo(_groups.Span((long)node * RowVectors.Lanes, RowVectors.Lanes));
            _valueSpread[node] = MathF.Sqrt(valueSquares / count / _head.Values.Columns);
            float distance = RowVectors.Largest(RowVectors.Far(valuePoint, MemoryMarshal.Cast<float, Vector512<float>>(centre)));
            _first[node] = 0.3f * MathF.Sqrt(_keySpread[node]) * _valueSpread[node];
            _second[node] = 0.125f * _keySpread[node] * distance;
        }
    }

    private Span<float> ScatterOf(int block, int depth)
    {
        int length = RowVectors.TriangleLength(KeyStride);
        return _scatters.Span(((long)block * Tree.Depths + depth) * length, length);
    }

    /// <summary>The scatters of a block, deepest first: a node's is that of its halves and of their two means.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Scatters(int block)
    {
        int first = block == 0 ? 0 : Tree.BlockEnds[block - 1], end = Tree.BlockEnds[block];
        using Scratch scratch = Scratch.Rent((long)KeyTree.MaxCount * KeyStride);
        for (int depth = Tree.Depths - 1; depth >= 0; depth--)
        {
            Span<float> sum = ScatterOf(block, depth);
            if (depth + 1 < Tree.Depths)
            {
                ScatterOf(block, depth + 1).CopyTo(sum);
            }
            else
            {
                sum.Clear();
            }

            int rows = 0;
            for (int node = first; node < end; node++)
            {
                if (Tree.Depth[node] != depth)
                {
                    continue;
                }

                int count = Tree.Count[node], left = Tree.Left[node];
                if (left < 0)
                {
                    for (int place = Tree.Start[node]; place < Tree.Start[node] + count; place++, rows++)
                    {
                        TensorPrimitives.Subtract(KeyRows(place, 1), KeyPoint(node), scratch.Buffer.Span((long)rows * KeyStride, KeyStride));
                    }

                    continue;
                }

                Span<float> row = scratch.Buffer.Span((long)rows * KeyStride, KeyStride);
                TensorPrimitives.Subtract(KeyPoint(left), KeyPoint(node - 1), row);
                TensorPrimitives.Multiply(row, MathF.Sqrt((float)Tree.Count[left] * Tree.Count[node - 1] / count), row);
                rows++;
            }

            RowVectors.AddSquare(scratch.Buffer.Matrix(rows, KeyStride), sum);
        }
    }

    private readonly struct Body(KeySummaries summaries, int[] blocks, bool leavesOnly, bool scatters) : IParallelBody
    {
        public void Invoke(int task)
        {
            summaries.Block(blocks[task], leavesOnly);
            if (scatters)
            {
                summaries.Scatters(blocks[task]);
            }
        }
    }
}
