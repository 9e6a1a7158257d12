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
    private readonly List<int> _blocks = [];
    private KeyTree _tree = null!;
    private double _scale;

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
    /// <param name="sample">Blocks of the tree that stand for all of them; null for all. Weights and summaries of others are not read.</param>
    public void Begin(KeySummaries summaries, ReadOnlySpan<float> weights, float length, KernelSet kernels, ReadOnlySpan<int> sample = default)
    {
        _tree = summaries.Tree;
        int nodes = _tree.NodeCount, blocks = _tree.BlockEnds.Length, counted = 0;
        HeadMeasure.Resize(ref _weights, nodes);
        HeadMeasure.Resize(ref _guess, nodes);
        HeadMeasure.Resize(ref _best, 4 * nodes);
        HeadMeasure.Resize(ref _merge, nodes);
        _blocks.Clear();
        _blocks.AddRange(sample);
        if (sample.IsEmpty)
        {
            _blocks.AddRange(Enumerable.Range(0, blocks));
        }

        double total = 0;
        foreach (int block in _blocks)
        {
            Sum(weights, FirstOf(block), _tree.BlockEnds[block]);
            total += _weights[_tree.BlockEnds[block] - 1];
            counted += _tree.Count[_tree.BlockEnds[block] - 1];
        }

        _scale = (double)_tree.Order.Length / counted;
        if (sample.IsEmpty)
        {
            Guess(summaries, length, total, kernels, 0, nodes);
            return;
        }

        foreach (int block in _blocks)
        {
            Guess(summaries, length, total * _scale, kernels, FirstOf(block), _tree.BlockEnds[block]);
        }
    }

    private int FirstOf(int block) => block == 0 ? 0 : _tree.BlockEnds[block - 1];

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Sum(ReadOnlySpan<float> weights, int first, int end)
    {
        ReadOnlySpan<int> left = _tree.Left, start = _tree.Start, count = _tree.Count;
        Span<float> sums = _weights;
        for (int node = first; node < end; node++)
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
    }

    private void Guess(KeySummaries summaries, float length, double total, KernelSet kernels, int first, int end)
    {
        // .36 |u| times the radius: how far the weights inside a node are tilted at a typical u.
        int nodes = end - first;
        Span<float> guess = _guess.AsSpan(first, nodes), spread = _best.AsSpan(0, nodes);
        TensorPrimitives.Multiply(summaries.KeyRadius.AsSpan(first, nodes), 0.36f * length, guess);
        kernels.Exp(guess, guess);
        TensorPrimitives.Multiply(guess, _weights.AsSpan(first, nodes), guess);
        TensorPrimitives.Multiply(summaries.Second.Slice(first, nodes), length, spread);
        TensorPrimitives.Add(spread, summaries.First.Slice(first, nodes), spread);
        TensorPrimitives.Multiply(spread, (float)(length / total), spread);
        TensorPrimitives.Multiply(guess, spread, guess);
    }

    /// <summary>Minimises entries + price * error over all ways to cut the tree: f(C) = min(1 + price e_C, f(left) + f(right)).</summary>
    /// <returns>The guessed error of the cut.</returns>
    public double Choose(float price)
    {
        double error = 0, entries = 0;
        foreach (int block in _blocks)
        {
            int end = _tree.BlockEnds[block];
            Choose(price, FirstOf(block), end);
            error += _best[(4 * (end - 1)) + 1];
            entries += _best[(4 * (end - 1)) + 2];
        }

        Entries = (int)(entries * _scale);
        return error * _scale;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Choose(float price, int first, int end)
    {
        ReadOnlySpan<int> left = _tree.Left, count = _tree.Count;
        ReadOnlySpan<float> guess = _guess;
        Span<bool> merge = _merge;

        // Cost, error and entries of the best way to cut a node, in one vector: comparisons of this kind are as good as random, and branches would be mispredicted.
        Span<Vector128<float>> best = MemoryMarshal.Cast<float, Vector128<float>>(_best.AsSpan());
        Vector128<float> ones = Vector128.Create(1f, 0, 1, 0), factors = Vector128.Create(price, 1, 0, 0);
        for (int node = first; node < end; node++)
        {
            int l = left[node];
            Vector128<float> apart = l < 0 ? ones * (float)count[node] : best[l] + best[node - 1];
            Vector128<float> together = (factors * guess[node]) + ones;
            Vector128<float> better = Vector128.Shuffle(Vector128.LessThan(together, apart), Vector128.Create(0, 0, 0, 0));
            merge[node] = (Vector128.ExtractMostSignificantBits(better) & 1) != 0;
            best[node] = Vector128.ConditionalSelect(better, together, apart);
        }
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
