using Subquartic.Generation;

namespace Subquartic.Attention;

/// <summary>Keys of every token map, halved again and again along the longer side: leaves of a few neighbours, and nodes of at most
/// <see cref="MaxCount"/> keys above them. It depends on the maps alone.</summary>
internal sealed class KeyTree
{
    /// <summary>Most keys that are ever merged.</summary>
    public const int MaxCount = 256;

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

    public int NodeCount => Start.Length;

    /// <summary>Builds the tree.</summary>
    /// <param name="maps">The token maps; null takes the keys as one line.</param>
    /// <param name="keys">S.</param>
    /// <param name="leafSize">Most keys of a leaf.</param>
    public static KeyTree Create(ScaleSchedule? maps, int keys, int leafSize)
    {
        var tree = new KeyTree(leafSize);
        int place = 0;
        for (int scale = 0; maps is not null && scale < maps.Count && maps.Start(scale + 1) <= keys; scale++)
        {
            tree.Split(place, maps[scale].Width, 0, maps[scale].Height, 0, maps[scale].Width, depth: -1);
            place += maps[scale].Tokens;
        }

        if (place < keys)
        {
            tree.Split(place, keys - place, 0, 1, 0, keys - place, depth: -1); // what no map explains is a line
        }

        tree.Order = [.. tree._order];
        tree.Start = [.. tree._start];
        tree.Count = [.. tree._count];
        tree.Left = [.. tree._left];
        tree.Depth = [.. tree._depth];
        tree.Depths = tree.Depth.Max() + 1;
        tree.BlockEnds = [.. tree._blockEnds];
        return tree;
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
}
