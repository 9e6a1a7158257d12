using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Threading;

namespace Subquartic.Attention;

/// <summary>Queries in tiles of vectors near each other: halved again and again along the direction in which they spread most.</summary>
internal sealed class QueryTiles(KernelSet kernels)
{
    private const int Sample = 96, Rounds = 4;

    private readonly List<(int Start, int Count)> _segments = [];
    private readonly List<(int Start, int Count)> _next = [];
    private int[] _order = [];
    private float[] _places = [];
    private HeadMeasure _head = null!;

    /// <summary>Rows of the queries, tile after tile.</summary>
    public int[] Order => _order;

    /// <summary>The tiles as ranges of <see cref="Order"/>, neighbours near each other.</summary>
    public IReadOnlyList<(int Start, int Count)> Tiles => _segments;

    /// <summary>Takes every so many of the queries of a head as one part.</summary>
    public void Begin(HeadMeasure head, int step = 1)
    {
        _head = head;
        int rows = (head.Queries.Rows + step - 1) / step;
        HeadMeasure.Resize(ref _order, rows);
        HeadMeasure.Resize(ref _places, rows);
        for (int i = 0; i < rows; i++)
        {
            _order[i] = i * step;
        }

        _segments.Clear();
        _segments.Add((0, rows));
    }

    /// <summary>A part of at most so many queries that holds a place of <see cref="Order"/>: a tile of that size when the size is asked for first, else about what such a tile would be.
    /// Only what lies on the way to it is halved.</summary>
    public (int Start, int Count) TileAt(int place, int tileSize)
    {
        while (true)
        {
            int segment = _segments.FindIndex(s => place < s.Start + s.Count);
            (int start, int count) = _segments[segment];
            int left = LeftCount(count, tileSize);
            if (left == count)
            {
                return (start, count);
            }

            Split(segment, tileSize);
            _segments[segment] = (start, left);
            _segments.Insert(segment + 1, (start + left, count - left));
        }
    }

    /// <summary>Forms tiles of at most so many queries.</summary>
    public void Build(HeadMeasure head, int tileSize)
    {
        Begin(head);
        while (_segments.Exists(s => s.Count > tileSize))
        {
            var body = new Body(this, tileSize);
            kernels.Pool.Run(_segments.Count, ref body);
            _next.Clear();
            foreach ((int start, int count) in _segments)
            {
                int left = LeftCount(count, tileSize);
                _next.Add((start, left));
                if (left < count)
                {
                    _next.Add((start + left, count - left));
                }
            }

            _segments.Clear();
            _segments.AddRange(_next);
        }
    }

    /// <summary>Queries of the first half, in whole tiles; all of them when they are one tile.</summary>
    private static int LeftCount(int count, int tileSize)
    {
        int tiles = (count + tileSize - 1) / tileSize;
        return tiles <= 1 ? count : (tiles / 2) * tileSize;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Split(int segment, int tileSize)
    {
        (int start, int count) = _segments[segment];
        int left = LeftCount(count, tileSize);
        if (left == count)
        {
            return;
        }

        int width = _head.Queries.Columns;
        int sample = Math.Min(Sample, count);
        using Scratch scratch = Scratch.Rent(((long)sample + 2) * width);
        Span<float> direction = scratch.Buffer.Span(0, width), product = scratch.Buffer.Span(width, width);
        Span<float> mean = product;
        mean.Clear();
        for (int i = 0; i < sample; i++)
        {
            TensorPrimitives.Add(mean, _head.Queries.Row(_order[start + (int)((long)i * count / sample)]), mean);
        }

        TensorPrimitives.Divide(mean, sample, mean);
        float longest = -1;
        for (int i = 0; i < sample; i++)
        {
            Span<float> row = scratch.Buffer.Span((2L + i) * width, width);
            TensorPrimitives.Subtract(_head.Queries.Row(_order[start + (int)((long)i * count / sample)]), mean, row);
            float length = TensorPrimitives.SumOfSquares<float>(row);
            if (length > longest)
            {
                longest = length;
                row.CopyTo(direction);
            }
        }

        for (int round = 0; round < Rounds; round++)
        {
            product.Clear();
            for (int i = 0; i < sample; i++)
            {
                ReadOnlySpan<float> row = scratch.Buffer.Span((2L + i) * width, width);
                TensorPrimitives.MultiplyAdd(row, TensorPrimitives.Dot(row, direction), product, product);
            }

            float norm = TensorPrimitives.Norm<float>(product);
            if (norm > 1e-30f && float.IsFinite(norm))
            {
                TensorPrimitives.Divide(product, norm, direction);
            }
        }

        for (int i = start; i < start + count; i++)
        {
            _places[i] = TensorPrimitives.Dot(_head.Queries.Row(_order[i]), direction);
        }

        Select(start, start + count - 1, start + left);
    }

    /// <summary>Orders places and rows so that those before the middle are not above those from it on (Hoare's selection).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Select(int low, int high, int middle)
    {
        while (low < high)
        {
            float pivot = Median(_places[low], _places[low + ((high - low) / 2)], _places[high]);
            int i = low, j = high;
            while (i <= j)
            {
                while (_places[i] < pivot)
                {
                    i++;
                }

                while (_places[j] > pivot)
                {
                    j--;
                }

                if (i <= j)
                {
                    (_places[i], _places[j]) = (_places[j], _places[i]);
                    (_order[i], _order[j]) = (_order[j], _order[i]);
                    i++;
                    j--;
                }
            }

            if (middle <= j)
            {
                high = j;
            }
            else if (middle >= i)
            {
                low = i;
            }
            else
            {
                return;
            }
        }
    }

    private static float Median(float a, float b, float c) => Math.Max(Math.Min(a, b), Math.Min(Math.Max(a, b), c));

    private readonly struct Body(QueryTiles tiles, int tileSize) : IParallelBody
    {
        public void Invoke(int task) => tiles.Split(task, tileSize);
    }
}
