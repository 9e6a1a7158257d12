using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Subquartic.Numerics.Kernels;

namespace Subquartic.Attention;

/// <summary>Chooses which nodes of the tree stand for their keys in one tile of queries. Nothing here affects validity: errors are
/// guessed, and the certificate is computed from what was chosen.</summary>
internal sealed class KeyCut
{
    private float[] _weights = [];
    private float[] _guess = [];
    private float[] _cost = [];
    private float[] _error = [];
    private float[] _entries = [];
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
        HeadMeasure.Resize(ref _cost, nodes);
        HeadMeasure.Resize(ref _error, nodes);
        HeadMeasure.Resize(ref _entries, nodes);
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
        Span<float> guess = _guess.AsSpan(0, nodes), spread = _cost.AsSpan(0, nodes);
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
        Span<float> cost = _cost.AsSpan(0, nodes), error = _error.AsSpan(0, nodes), entries = _entries.AsSpan(0, nodes);
        Span<bool> merge = _merge.AsSpan(0, nodes);
        for (int node = 0; node < nodes; node++)
        {
            int l = left[node];
            float size, loss;
            if (l < 0)
            {
                (size, loss) = (count[node], 0);
            }
            else
            {
                (size, loss) = (entries[l] + entries[node - 1], error[l] + error[node - 1]);
            }

            float apart = l < 0 ? size : cost[l] + cost[node - 1], together = 1 + (price * guess[node]);
            bool better = together < apart && count[node] > 1;
            merge[node] = better;
            cost[node] = better ? together : apart;
            entries[node] = better ? 1 : size;
            error[node] = better ? guess[node] : loss;
        }

        double sum = 0, all = 0;
        foreach (int end in _tree.BlockEnds)
        {
            sum += error[end - 1];
            all += entries[end - 1];
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
