using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using Subquartic.Criteria;
using Subquartic.Numerics.Kernels;

namespace Subquartic.Attention;

/// <content>The search for outlier keys and for directions, when the coordinates as they are do not serve.</content>
internal sealed partial class LowRankHead
{
    /// <summary>Puts the longest keys aside when the others would then need markedly fewer features.</summary>
    private bool FindOutliers(double exact)
    {
        int most = Math.Min(MaxOutliers, _keys.Rows / 16);
        if (most == 0)
        {
            return false;
        }

        // From the mean, which a few far keys hardly move, unlike the middle of the extremes.
        int width = _keys.Columns;
        var mean = new double[width];
        var row = new double[width];
        for (int j = 0; j < _keys.Rows; j++)
        {
            TensorPrimitives.ConvertTruncating<float, double>(_keys.Row(j), row);
            TensorPrimitives.Add(mean, row, mean);
        }

        TensorPrimitives.Divide(mean, _keys.Rows, mean);
        var longest = new PriorityQueue<int, double>();
        for (int j = 0; j < _keys.Rows; j++)
        {
            TensorPrimitives.ConvertTruncating<float, double>(_keys.Row(j), row);
            double length = TensorPrimitives.Distance<double>(row, mean);
            if (longest.Count <= most)
            {
                longest.Enqueue(j, length);
            }
            else
            {
                longest.EnqueueDequeue(j, length);
            }
        }

        (int Key, double Length)[] sorted = [.. longest.UnorderedItems.Select(item => (item.Element, item.Priority)).OrderByDescending(item => item.Priority).ThenBy(item => item.Element)];
        double least = EstimatedCost(_largest, 0, exact);
        int chosen = 0;
        for (int count = 1; count < sorted.Length; count *= 2)
        {
            double cost = EstimatedCost(_largest * sorted[count].Length / sorted[0].Length, count, exact);
            if (cost < 0.8 * least)
            {
                (least, chosen) = (cost, count);
            }
        }

        _outliers.AddRange(sorted.Take(chosen).Select(item => item.Key).Order());
        return chosen > 0;
    }

    /// <summary>Cost if all scores lay within a range, the head's own or less.</summary>
    private double EstimatedCost(double halfRange, int outliers, double exact)
    {
        double worst = options.OnlyWhenFaster ? exact : double.PositiveInfinity;
        for (int degree = 1; degree <= ExpPolynomial.MaxDegree; degree++)
        {
            double cost = AttentionCost.FeatureTime(_queries.Rows + _keys.Rows, MonomialBasis.CountOf(_map.Width, degree), _values.Columns)
                + AttentionCost.ExactTime(_queries.Rows, outliers, _map.Width, _values.Columns);
            if (ExpPolynomial.EstimateError(halfRange, degree) <= 2 * options.Tolerance || cost > worst)
            {
                return Math.Min(cost, worst);
            }
        }

        return worst;
    }

    /// <summary>Extremes of the keys that are no outliers.</summary>
    private (double[] Low, double[] High) BulkExtremes()
    {
        int width = _keys.Columns;
        var outliers = new HashSet<int>(_outliers);
        double[] low = new double[width], high = new double[width];
        Array.Fill(low, double.PositiveInfinity);
        Array.Fill(high, double.NegativeInfinity);
        for (int j = 0; j < _keys.Rows; j++)
        {
            ReadOnlySpan<float> key = _keys.Row(j);
            for (int l = 0; l < width && !outliers.Contains(j); l++)
            {
                low[l] = Math.Min(low[l], key[l]);
                high[l] = Math.Max(high[l], key[l]);
            }
        }

        return (low, high);
    }

    /// <summary>Turns coordinates into those that matter most, and drops the rest where its share of the scores is provably small.</summary>
    private bool FindDirections(double exact)
    {
        int width = _keys.Columns;
        LowRankReductions reductions = options.Reductions;
        bool whole = reductions.Rotation && width <= 2 * MaxDirections;
        int most = whole ? width : reductions.Projection ? Math.Min(MaxDirections, width - 1) : 0;
        if (most == 0 || width < 2 || width > 1024)
        {
            return false;
        }

        // Four iterations over both samples, in double.
        double search = 16.0 * SampleRows * width * most * 4;
        if (options.OnlyWhenFaster && search > exact / 8)
        {
            return false;
        }

        double[]? directions = LeadingDirections.Of(Sample(_keys, 1, _map.KeyCentre), Sample(_queries, _scale, _map.QueryCentre), width, most);
        if (directions is null)
        {
            return false;
        }

        _map.Use(directions, most);
        Run(Pass.SurveyKeys, KeyTasks);
        double[] keys = JoinSurvey(KeyTasks);
        Run(Pass.SurveyQueries, QueryTasks);
        double[] queries = JoinSurvey(QueryTasks);
        int chosen = 0;
        double least = double.PositiveInfinity;
        double box = 0;
        for (int p = 1; p <= most; p++)
        {
            (double low, double high) = (-keys[p - 1], keys[most + p - 1]);
            double half = reductions.KeyCentring ? (high - low) / 2 : Math.Max(Math.Abs(low), Math.Abs(high));
            box += half * Math.Max(Math.Abs(queries[p - 1]), Math.Abs(queries[most + p - 1]));
            double residual = Math.Sqrt(keys[(2 * most) + p] * queries[(2 * most) + p]);
            if ((p == width ? !reductions.Rotation : !reductions.Projection) || !(Math.Tanh(residual / 2) < 0.7 * options.Tolerance))
            {
                continue;
            }

            _map.Narrow(p);
            double cost = EstimatedCost(box, _outliers.Count, exact);
            if (cost < least)
            {
                (least, chosen) = (cost, p);
            }
        }

        if (chosen == 0)
        {
            return false;
        }

        _map.Use(directions, chosen);
        var maxima = new double[chosen];
        for (int p = 0; p < chosen; p++)
        {
            (double low, double high) = (-keys[p], keys[most + p]);
            _map.Offsets[p] = reductions.KeyCentring ? (low + high) / 2 : 0;

            // The stored coordinate may round up.
            maxima[p] = Math.Max(Math.Abs(low - _map.Offsets[p]), Math.Abs(high - _map.Offsets[p])) * (1 - (4 * UnitRoundoff));
        }

        _map.Scale(maxima, reductions.Rebalancing);
        return true;
    }

    /// <summary>Rows spread evenly over a matrix, scaled and centred.</summary>
    private static double[] Sample(Numerics.Tensors.Matrix rows, float scale, ReadOnlySpan<float> centre)
    {
        int count = Math.Min(SampleRows, rows.Rows);
        var sample = new double[count * rows.Columns];
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<float> row = rows.Row((int)((long)i * rows.Rows / count));
            for (int l = 0; l < row.Length; l++)
            {
                sample[(i * row.Length) + l] = ((double)scale * row[l]) - centre[l];
            }
        }

        return sample;
    }

    /// <summary>Largest -y, largest y (p each) and, for every number of directions from 0 on, the largest squared residual, over all tasks.</summary>
    private double[] JoinSurvey(int tasks)
    {
        int length = (3 * _map.Width) + 1;
        var result = new double[length];
        Array.Fill(result, double.NegativeInfinity);
        for (int task = 0; task < tasks; task++)
        {
            TensorPrimitives.Max(result, scratch.Partials.AsSpan(task * length, length), result);
        }

        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Survey(int task, bool ofKeys)
    {
        BlockWorkspace work = scratch.Rent();
        Numerics.Tensors.Matrix rows = ofKeys ? _keys : _queries;
        int width = _map.Width;
        int tokens = ofKeys ? _taskTokens : SumTokens;
        int length = (3 * width) + 1;
        Span<double> result = scratch.Partials.AsSpan(task * length, length);
        result.Fill(double.NegativeInfinity);
        Span<float> raw = work.Raw(_map.InputWidth);
        Span<double> all = work.Work(width + 2);
        Span<double> lengths = all.Slice((width + 1) * Block, Block);
        int end = Math.Min(rows.Rows, (task + 1) * tokens);
        for (int start = task * tokens; start < end; start += Block)
        {
            int count = Math.Min(Block, end - start);
            MonomialKernels.Gather(rows, start, count, raw);
            _map.Project(raw, ofKeys ? 1 : _scale, ofKeys ? _map.KeyCentre : _map.QueryCentre, all, lengths, lengthsOnly: true);
            for (int t = 0; t < count; t++)
            {
                double rest = lengths[t];
                double slack = rest * TokenMap.Rounding;
                bool inside = !ofKeys || !scratch.IsOutlier[start + t];
                result[2 * width] = Math.Max(result[2 * width], rest + slack);
                for (int p = 0; p < width; p++)
                {
                    double y = all[(p * Block) + t];
                    rest -= y * y;
                    result[(2 * width) + p + 1] = Math.Max(result[(2 * width) + p + 1], Math.Max(0, rest) + slack);
                    if (inside)
                    {
                        result[p] = Math.Max(result[p], -y);
                        result[width + p] = Math.Max(result[width + p], y);
                    }
                }
            }
        }

        scratch.Return(work);
    }
}
