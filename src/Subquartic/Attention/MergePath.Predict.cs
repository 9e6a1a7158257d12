using System.Diagnostics;
using System.Numerics.Tensors;
using Subquartic.Generation;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

// What merging a head will cost, before and while it is done, and what it costs on this machine. Speed only: nothing here is part of a bound.
internal sealed partial class MergePath
{
    // Rows that will miss the tolerance, as a rule.
    private const double FailedShare = 0.05;

    // Certificates ask for longer lists than guesses do, on the heads that are hard to decide.
    private const double EntriesUp = 1.4;

    // Entries of a list go with the guessed error it may have to about this power, less one.
    private const double EntriesPerTarget = 0.6;

    /// <summary>Cost of rows that are not merged, over that of exact attention.</summary>
    private double LeftCost => _integers is null ? 1 : _costs.Quantized;

    /// <summary>Largest cost predicted of a head for which it is merged.</summary>
    private double WorthIt => _integers is null ? plan.HeadWorthIt : plan.HeadWorthItInIntegers * LeftCost;

    /// <summary>Cost of a list and of some rows' attention over it, in multiply-adds of exact attention.</summary>
    private double ListCost(double entries, double rows)
    {
        double columns = _head.Keys.Columns + _head.Values.Columns;
        double wide = _integers is null ? columns : columns * _costs.Quantized, more = ValueColumns - _head.Values.Columns;
        return (_costs.List * entries * rows * (wide + more)) + (_costs.Entry * entries * columns) + (_costs.Tile * _head.Keys.Rows * columns);
    }

    /// <summary>Whether merging is worth it, as lists for a few tiles of a few blocks of the tree say, before anything is built for all keys; takes the best size of a tile.</summary>
    private bool Promises(int[] sizes)
    {
        int[] blocks = _summaries.SampleBlocks();
        _summaries.BuildSample(blocks);
        if (!_workspaces.TryTake(out MergeWorkspace[]? works))
        {
            works = NewWorkspaces();
        }

        MergeWorkspace work = works[0];
        work.Begin(_head.Keys.Rows, _summaries.KeyStride, _summaries.ValueStride, _summaries.Tree.BlockEnds.Length * _summaries.Tree.Depths);
        double best = double.PositiveInfinity, price = _price;
        for (int s = 0; s < sizes.Length; s++)
        {
            int size = sizes[^(s + 1)];
            double entries = 0, own = price;
            for (int i = 0; i < SampleTiles; i++)
            {
                MergeTile tile = SampleTile(s, i);
                SampleWeights(tile, blocks, work);
                work.Cut.Begin(_summaries, work.Weights, (float)tile.LongestLength, kernels, blocks);
                own = Cut(work.Cut, _allowed, s + i == 0 ? Cut(work.Cut, _allowed, own) : own);
                entries += (double)work.Cut.Entries / SampleTiles;
            }

            double share = Share(EntriesUp * entries, FailedShare, size) + (_costs.Head / _head.Queries.Rows);
            if (share < best)
            {
                (best, price, _tileSize) = (share, own, size);
            }
        }

        _workspaces.Add(works);
        _price = price;
        return best <= WorthIt;
    }

    /// <summary>Weights of the keys of some blocks for a tile's pilot.</summary>
    private void SampleWeights(MergeTile tile, int[] blocks, MergeWorkspace work)
    {
        ReadOnlySpan<float> pilot = tile.Pilots.Row(0);
        float most = float.NegativeInfinity;
        foreach (int block in blocks)
        {
            (int start, int end) = _summaries.PlacesOf(block);
            for (int place = start; place < end; place++)
            {
                work.Pilots[place] = TensorPrimitives.Dot(_summaries.KeyRows(place, 1), pilot);
            }

            most = Math.Max(most, TensorPrimitives.Max<float>(work.Pilots[start..end]));
        }

        foreach (int block in blocks)
        {
            (int start, int end) = _summaries.PlacesOf(block);
            Span<float> pilots = work.Pilots[start..end];
            TensorPrimitives.Subtract(pilots, most, pilots);
            TensorPrimitives.Max(pilots, LeastPilot, pilots);
            kernels.Exp(pilots, work.Weights[start..end]);
        }
    }

    /// <summary>Whether the rest of the head is worth it, as its first tiles say: what summaries cost is spent.</summary>
    private bool Pays(int tiles)
    {
        double entries = 0, ratio = 0;
        int merged = 0;
        for (int i = 0; i < tiles; i++)
        {
            ReadOnlySpan<double> result = _results.AsSpan(4 * i, 4);
            if (result[1] > 0)
            {
                merged++;
                entries += result[3];
                ratio += Math.Log(result[1]);
            }
        }

        // Lists of later tiles will be as much finer or coarser as the certificates of these ask for.
        entries *= Math.Exp(-EntriesPerTarget * ratio / merged) / merged;
        return Share(entries, FailedShare + 1 - ((double)merged / tiles), _tileSize) <= Math.Max(LeftCost, WorthIt);
    }

    /// <summary>Cost of a head in tiles of a size, over that of exact attention, some of whose rows are left to other ways; summaries are not counted.</summary>
    private double Share(double entries, double left, double tile) =>
        (ListCost(entries, tile) / (tile * _head.Keys.Rows * (_head.Keys.Columns + _head.Values.Columns))) + (left * LeftCost);

    /// <summary>Times the parts of a head's work, each at its best of some times.</summary>
    /// <param name="head">A head that can be merged.</param>
    /// <param name="maps">Where its keys lie.</param>
    /// <param name="outcomes">Begun for it.</param>
    /// <param name="quiet">How long nothing must have become faster; eight times as long at most.</param>
    public CertifiedCosts Measure(HeadMeasure head, ScaleSchedule maps, RowOutcomes outcomes, TimeSpan quiet)
    {
        const int rows = 192, entries = 1024;
        double columns = head.Keys.Columns + head.Values.Columns, allowed = 0.01 * head.Range;
        (_audited, _integers) = (false, null);
        Matrix some = head.Queries.SliceRows(0, rows);
        Begin(head, maps, new Tolerance(allowed, ToleranceKind.Absolute), allowed, outcomes, plan.LeafErrorLimit);
        using var memory = new FloatBuffer(((rows + entries) * (head.Keys.Columns + 1L + ValueColumns)) + ((long)rows * head.Values.Columns));
        Matrix queries = memory.Matrix(rows, head.Keys.Columns + 1), keys = memory.Matrix(entries, head.Keys.Columns + 1, (long)rows * (head.Keys.Columns + 1));
        Matrix values = memory.Matrix(entries, ValueColumns, (rows + (long)entries) * (head.Keys.Columns + 1));
        long end = ((rows + (long)entries) * (head.Keys.Columns + 1)) + ((long)entries * ValueColumns);
        Matrix output = memory.Matrix(rows, ValueColumns, end), result = memory.Matrix(rows, head.Values.Columns, end + ((long)rows * ValueColumns));
        _wave.Clear();
        _wave.AddRange(Enumerable.Range(0, Math.Min(WaveTiles, _tiles.Tiles.Count)));
        double price = _price, few = 0, many = 0;
        double exact = double.PositiveInfinity, list = exact, whole = exact, fewTime = exact, manyTime = exact;

        // Methods are compiled again, better, once they have been called often: until nothing has become faster for a while, or it takes too long.
        long start = Stopwatch.GetTimestamp(), change = start;
        while (Stopwatch.GetElapsedTime(change) < quiet && Stopwatch.GetElapsedTime(start) < 8 * quiet)
        {
            double sum = whole + fewTime + manyTime;
            Time(ref exact, () => kernels.Attention(One(some), One(head.Keys), One(head.Values), 1, One(result)));
            Time(ref list, () => kernels.Attention(One(queries), One(keys), One(values), 1, One(output)));
            Time(ref whole, () => Begin(head, maps, new Tolerance(allowed, ToleranceKind.Absolute), allowed, outcomes, plan.LeafErrorLimit));

            // Short and long lists of the same tiles: what a tile costs, and what an entry does.
            few = Wave(ref fewTime, 4);
            many = Wave(ref manyTime, 0.25);
            change = whole + fewTime + manyTime < 0.97 * sum ? Stopwatch.GetTimestamp() : change;
        }

        exact /= rows * columns * head.Keys.Rows;
        list /= (double)rows * entries * (head.Keys.Columns + ValueColumns);
        double entry = (manyTime - fewTime) / Math.Max(1, many - few);
        return new CertifiedCosts
        {
            List = list / exact,
            Entry = (entry - (list * _tileSize * (head.Keys.Columns + ValueColumns))) / (exact * columns),
            Tile = (fewTime - (few * entry)) / _wave.Count / (exact * columns * head.Keys.Rows),
            Head = whole / (exact * columns * head.Keys.Rows),
        };

        double Wave(ref double best, double gamma)
        {
            (_gamma, _price) = (gamma, price);
            Time(ref best, () => RunWave());
            double sum = 0;
            for (int i = 0; i < _wave.Count; i++)
            {
                sum += _results[(4 * i) + 3];
            }

            return sum;
        }

        static void Time(ref double best, Action work)
        {
            long start = Stopwatch.GetTimestamp();
            work();
            best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
    }

    private static MergeWorkspace[] NewWorkspaces()
    {
        var works = new MergeWorkspace[MaxGroup];
        for (int i = 0; i < works.Length; i++)
        {
            works[i] = new MergeWorkspace();
        }

        return works;
    }
}
