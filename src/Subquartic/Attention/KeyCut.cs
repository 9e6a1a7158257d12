using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Kernels;

namespace Subquartic.Attention;

/// <summary>Chooses which nodes of the tree stand for their keys in one tile of queries. Nothing here affects validity: errors are
/// guessed, and the certificate is computed from what was chosen.</summary>
internal sealed class KeyCut
{
    private float[] _weights = [];
    private float[] _guess = [];
    private float[] _best = [];
    private bool[] _merge = [];
    private readonly Stack<int> _stack = [];
    private readonly List<int> _nodes = [];
    private readonly List<int> _ends = [];
    private KeyTree _tree = null!;

    /// <summary>Sum of the weights of a node's keys, in order of their places.</summary>
    public float[] Weights => _weights;

    /// <summary>Entries of the list of the last choice.</summary>
    public int Entries { get; private set; }

    /// <summary>Keys that the last choice merges.</summary>
    public int MergedKeys { get; private set; }

    /// <summary>Sums weights upwards and guesses each node's share of the error for vectors u up to a length.</summary>
    /// <param name="summaries">What nodes know.</param>
    /// <param name="weights">exp(q0.k) of every key, in leaf order, over the largest.</param>
    /// <param name="length">max |u|.</param>
    /// <param name="kernels">Computes exp.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Begin(KeySummaries summaries, ReadOnlySpan<float> weights, float length, KernelSet kernels)
    {
        _tree = summaries.Tree;
        int nodes = _tree.NodeCount;
        HeadMeasure.Resize(ref _weights, nodes);
        HeadMeasure.Resize(ref _guess, nodes);
        HeadMeasure.Resize(ref _best, 4 * nodes);
        HeadMeasure.Resize(ref _merge, nodes);
        ReadOnlySpan<int> left = _tree.Left, start = _tree.Start, count = _tree.Count;
        Span<float> sums = _weights.AsSpan(0, nodes);
        for (int node = 0; node < sums.Length; node++)
        {
            if (left[node] >= 0)
            {
                sums[node] = sums[left[node]] + sums[node - 1];
                continue;
            }

            float sum = 0;
            foreach (float weight in weights.Slice(start[node], count[node]))
            {
                sum += weight;
            }

            sums[node] = sum;
        }

        double total = 0;
        foreach (int end in _tree.BlockEnds)
        {
            total += sums[end - 1];
        }

        // .36 |u| times the radius: how far the weights inside a node are tilted at a typical u.
        Span<float> guess = _guess.AsSpan(0, nodes), spread = _best.AsSpan(0, nodes);
        TensorPrimitives.Multiply(summaries.KeyRadius.AsSpan(0, nodes), 0.36f * length, guess);
        kernels.Exp(guess, guess);
        TensorPrimitives.Multiply(guess, sums, guess);
        TensorPrimitives.Multiply(summaries.Second, length, spread);
        TensorPrimitives.Add(spread, summaries.First, spread);
        TensorPrimitives.Multiply(spread, (float)(length / total), spread);
        TensorPrimitives.Multiply(guess, spread, guess);
    }

    /// <summary>Minimises entries + price * error over all ways to cut the tree: f(C) = min(1 + price e_C, f(left) + f(right)).</summary>
    /// <returns>The guessed error of the cut.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public double Choose(float price)
    {
        int nodes = _tree.NodeCount;
        ReadOnlySpan<int> left = _tree.Left.AsSpan(0, nodes), count = _tree.Count.AsSpan(0, nodes);
        ReadOnlySpan<float> guess = _guess.AsSpan(0, nodes);
        Span<bool> merge = _merge.AsSpan(0, nodes);

        // Cost, error and entries of the best way to cut a node, in one vector: comparisons of this kind are as good as random, and branches would be mispredicted.
        Span<Vector128<float>> best = MemoryMarshal.Cast<float, Vector128<float>>(_best.AsSpan(0, 4 * nodes));
        Vector128<float> ones = Vector128.Create(1f, 0, 1, 0), factors = Vector128.Create(price, 1, 0, 0);
        for (int node = 0; node < best.Length; node++)
        {
            int l = left[node];
            Vector128<float> apart = l < 0 ? ones * (float)count[node] : best[l] + best[node - 1];
            Vector128<float> together = (factors * guess[node]) + ones;
            Vector128<float> better = Vector128.Shuffle(Vector128.LessThan(together, apart), Vector128.Create(0, 0, 0, 0));
            merge[node] = (Vector128.ExtractMostSignificantBits(better) & 1) != 0;
            best[node] = Vector128.ConditionalSelect(better, together, apart);
        }

        double sum = 0, all = 0;
        foreach (int end in _tree.BlockEnds)
        {
            sum += best[end - 1][1];
            all += best[end - 1][2];
        }

        Entries = (int)all;
        return sum;
    }

    /// <summary>Nodes of the last choice in one block of the tree: merged ones as they are, leaves taken key by key as their
    /// complement (~node).</summary>
    public ReadOnlySpan<int> Block(int block) =>
        CollectionsMarshal.AsSpan(_nodes)[(block == 0 ? 0 : _ends[block - 1]).._ends[block]];

    /// <summary>Lists the nodes of the last choice.</summary>
    public void List()
    {
        _nodes.Clear();
        _ends.Clear();
        MergedKeys = 0;
        foreach (int end in _tree.BlockEnds)
        {
            _stack.Push(end - 1);
            while (_stack.TryPop(out int node))
            {
                if (_merge[node])
                {
                    _nodes.Add(node);
                    MergedKeys += _tree.Count[node];
                }
                else if (_tree.Left[node] < 0)
                {
                    _nodes.Add(~node);
                }
                else
                {
                    _stack.Push(node - 1);
                    _stack.Push(_tree.Left[node]);
                }
            }

            _ends.Add(_nodes.Count);
        }
    }
}
