using Subquartic.Generation;

namespace Subquartic.Attention;

/// <summary>Keys halved again and again along the longer side of where they lie: leaves of a few neighbours, and nodes of at most
/// <see cref="MaxCount"/> keys above them. Either every token map by itself, or all maps laid over each other, so that a node holds what all scales say of
/// a place. It depends on the maps alone.</summary>
internal sealed class KeyTree
{
    /// <summary>Most keys that are ever merged.</summary>
    public const int MaxCount = 256;

    private const int CoarseCount = 64;

    private readonly List<int> _order = [];
    private readonly List<int> _start = [];
    private readonly List<int> _count = [];
    private readonly List<int> _left = [];
    private readonly List<int> _depth = [];
    private readonly List<int> _blockEnds = [];
    private readonly int _leafSize;

    private KeyTree(int leafSize) => _leafSize = leafSize;

    /// <summary>Index of the key at each place of leaf order.</summary>
    public int[] Order { get; private set; } = [];

    /// <summary>First place of each node. Children come before their parent, the right one just before it.</summary>
    public int[] Start { get; private set; } = [];

    /// <summary>Keys of each node.</summary>
    public int[] Count { get; private set; } = [];

    /// <summary>Left child of each node, -1 for a leaf; the right child is the node before its parent.</summary>
    public int[] Left { get; private set; } = [];

    /// <summary>Halvings between the block of each node and itself.</summary>
    public int[] Depth { get; private set; } = [];

    /// <summary>Different depths.</summary>
    public int Depths { get; private set; }

    /// <summary>Nodes without a parent end here: one past each of them. Nodes of a block are contiguous.</summary>
    public int[] BlockEnds { get; private set; } = [];

    /// <summary>Nodes that hold every key once: the largest of at most 64 keys.</summary>
    public int[] Coarse { get; private set; } = [];

    public int NodeCount => Start.Length;

    /// <summary>Builds the tree.</summary>
    /// <param name="maps">The token maps; null takes the keys as one line.</param>
    /// <param name="keys">S.</param>
    /// <param name="leafSize">Most keys of a leaf.</param>
    /// <param name="across">Whether the maps are laid over each other.</param>
    public static KeyTree Create(ScaleSchedule? maps, int keys, int leafSize, bool across = false)
    {
        var tree = new KeyTree(leafSize);
        int place = 0;
        if (across && maps is not null)
        {
            int scales = 0;
            while (scales < maps.Count && maps.Start(scales + 1) <= keys)
            {
                scales++;
            }

            place = maps.Start(scales);
            (float X, float Y, int Key)[] points = new (float, float, int)[place];
            for (int scale = 0; scale < scales; scale++)
            {
                for (int token = 0; token < maps[scale].Tokens; token++)
                {
                    (int y, int x) = Math.DivRem(token, maps[scale].Width);
                    int key = maps.Start(scale) + token;
                    points[key] = ((x + 0.5f) / maps[scale].Width, (y + 0.5f) / maps[scale].Height, key);
                }
            }

            if (place > 0)
            {
                tree.Split(points, 1, 1, depth: -1);
            }

            return tree.Finish(place, keys);
        }

        for (int scale = 0; maps is not null && scale < maps.Count && maps.Start(scale + 1) <= keys; scale++)
        {
            tree.Split(place, maps[scale].Width, 0, maps[scale].Height, 0, maps[scale].Width, depth: -1);
            place += maps[scale].Tokens;
        }

        return tree.Finish(place, keys);
    }

    /// <summary>Adds the keys that no map explains, as a line.</summary>
    private KeyTree Finish(int place, int keys)
    {
        if (place < keys)
        {
            Split(place, keys - place, 0, 1, 0, keys - place, depth: -1);
        }

        Order = [.. _order];
        Start = [.. _start];
        Count = [.. _count];
        Left = [.. _left];
        Depth = [.. _depth];
        Depths = Depth.Max() + 1;
        BlockEnds = [.. _blockEnds];
        var coarse = new List<int>();
        foreach (int end in BlockEnds)
        {
            AddCoarse(end - 1, coarse);
        }

        Coarse = [.. coarse];
        return this;
    }

    private void AddCoarse(int node, List<int> coarse)
    {
        if (Count[node] <= CoarseCount || Left[node] < 0)
        {
            coarse.Add(node);
            return;
        }

        AddCoarse(Left[node], coarse);
        AddCoarse(node - 1, coarse);
    }

    /// <summary>Adds points in a cell of a width and height, halved by their number across the longer side.</summary>
    private void Split(Span<(float X, float Y, int Key)> points, float width, float height, int depth)
    {
        bool isBlock = depth < 0 && points.Length <= MaxCount;
        depth = isBlock ? 0 : depth;
        int start = _order.Count, left = -1, below = depth < 0 ? -1 : depth + 1;
        if (points.Length <= _leafSize)
        {
            foreach ((_, _, int key) in points)
            {
                _order.Add(key);
            }
        }
        else
        {
            bool byRow = height >= width;

            // Ties fall by the key, which makes the order one of its own.
            points.Sort((a, b) => (byRow ? a.Y.CompareTo(b.Y) : a.X.CompareTo(b.X)) is var order and not 0 ? order : a.Key.CompareTo(b.Key));
            int half = points.Length / 2;
            (width, height) = byRow ? (width, height / 2) : (width / 2, height);
            Split(points[..half], width, height, below);
            left = _start.Count - 1;
            Split(points[half..], width, height, below);
        }

        Close(start, points.Length, left, depth, isBlock);
    }

    private void Close(int start, int count, int left, int depth, bool isBlock)
    {
        if (depth >= 0)
        {
            _depth.Add(depth);
            _start.Add(start);
            _count.Add(count);
            _left.Add(left);
        }

        if (isBlock)
        {
            _blockEnds.Add(_start.Count);
        }
    }

    /// <summary>Adds the tokens [y0, y1) x [x0, x1) of the map that starts at a place and has rows of a width; depth -1 stands above all blocks.</summary>
    private void Split(int place, int width, int y0, int y1, int x0, int x1, int depth)
    {
        int height = y1 - y0, length = x1 - x0, count = height * length, start = _order.Count;
        bool isBlock = depth < 0 && count <= MaxCount;
        if (isBlock)
        {
            depth = 0;
        }

        int left = -1, below = depth < 0 ? -1 : depth + 1;
        if (count <= _leafSize)
        {
            for (int y = y0; y < y1; y++)
            {
                for (int x = x0; x < x1; x++)
                {
                    _order.Add(place + (y * width) + x);
                }
            }
        }
        else
        {
            (int yMiddle, int xMiddle) = height >= length ? (y0 + (height / 2), x1) : (y1, x0 + (length / 2));
            Split(place, width, y0, yMiddle, x0, xMiddle, below);
            left = _start.Count - 1;
            Split(place, width, yMiddle < y1 ? yMiddle : y0, y1, xMiddle < x1 ? xMiddle : x0, x1, below);
        }

        Close(start, count, left, depth, isBlock);
    }
}
