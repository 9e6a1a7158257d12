using Subquartic.Generation;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

// Lists without certificates: how coarse they may be is learnt from a few tiles, and what came out is audited.
internal sealed partial class MergePath
{
    // Guessed error over what is allowed that is tried first, rows that each tile is judged by, rounds of learning, and how much of what is allowed they aim at.
    private const double FirstTarget = 24;

    private const int JudgedRows = 12, LearningRounds = 3;

    private const double AimedAt = 0.5;

    private readonly List<int> _drawn = [];
    private FloatBuffer _judged = new(0);

    /// <summary>Computes a head from lists without certificates and audits it: see <see cref="AuditedAttention"/>.</summary>
    /// <param name="head">The head.</param>
    /// <param name="maps">Where its keys lie.</param>
    /// <param name="tolerance">What every row is to meet.</param>
    /// <param name="allowed">Its value for all rows, in units of V, less the rounding of rows computed exactly.</param>
    /// <param name="options">Rows of an audit, confidence and seed.</param>
    /// <param name="outcomes">Where rows are written; none stays when all audits fail.</param>
    /// <param name="integers">Begun with the head when rows that are not merged and lists are to be computed in integers; otherwise null.</param>
    /// <returns>Whether an audit was passed.</returns>
    public bool RunAudited(
        HeadMeasure head, ScaleSchedule? maps, Tolerance tolerance, double allowed, AuditOptions options, RowOutcomes outcomes, QuantizedPath? integers = null)
    {
        (_audited, _integers) = (true, integers);
        if (!Begin(head, maps, tolerance, allowed, outcomes, plan.AuditedErrorLimit) || !Learn(allowed))
        {
            outcomes.ForgetAudited();
            return false;
        }

        for (int attempt = 0; attempt < options.Attempts; attempt++)
        {
            outcomes.ForgetAudited(); // what a finer list is not worth becomes exact
            RunAll([]);
            Draw(head.Queries.Rows, options.Rows, options.Seed + (ulong)attempt);
            double error = Judge();
            if (error <= allowed)
            {
                return true;
            }

            _gamma *= Math.Clamp(AimedAt * allowed / error, 0.05, 0.5);
        }

        outcomes.ForgetAudited();
        return false;
    }

    /// <summary>Finds a target for the guessed errors at which a few rows of a few tiles stay well within what is allowed.</summary>
    private bool Learn(double allowed)
    {
        int[] probes = ProbeTiles();
        _gamma = plan.AuditedTarget ?? FirstTarget;
        for (int round = 0; round < (plan.AuditedTarget is null ? LearningRounds : 0); round++)
        {
            _outcomes.ForgetAudited();
            _wave.Clear();
            _wave.AddRange(probes);
            if (!RunWave())
            {
                return false;
            }

            _drawn.Clear();
            foreach (int probe in probes)
            {
                (int start, int count) = _tiles.Tiles[probe];
                int rows = Math.Min(JudgedRows, count);
                for (int i = 0; i < rows; i++)
                {
                    _drawn.Add(_tiles.Order[start + (i * count / rows)]);
                }
            }

            double ratio = Judge() / allowed;
            double step = Math.Clamp(AimedAt / Math.Max(ratio, 1e-3), 0.1, 4);
            if (!double.IsFinite(ratio) || (ratio < AimedAt && step < 1.5))
            {
                return double.IsFinite(ratio);
            }

            _gamma *= step;
        }

        return true;
    }

    /// <summary>Draws rows, each as likely as any other and independent of the data.</summary>
    private void Draw(int rows, int count, ulong seed)
    {
        _drawn.Clear();
        ulong state = SplitMix64.Mix(seed);
        for (int i = 0; i < count; i++)
        {
            state += SplitMix64.Step;
            _drawn.Add((int)Math.BigMul(SplitMix64.Mix(state), (ulong)rows, out _));
        }
    }

    /// <summary>Computes the drawn rows exactly; returns the largest error of those that stand, in units of V.</summary>
    private double Judge()
    {
        int count = _drawn.Count, width = _head.Queries.Columns, columns = _head.Values.Columns;
        Grow(ref _judged, (long)count * (width + columns));
        Matrix queries = _judged.Matrix(count, width), exact = _judged.Matrix(count, columns, (long)count * width);
        for (int i = 0; i < count; i++)
        {
            _head.Queries.Row(_drawn[i]).CopyTo(queries.Row(i));
        }

        kernels.Attention(One(queries), One(_head.Keys), One(_head.Values), _head.Scale, One(exact));
        Work += (double)count * _head.Keys.Rows * (width + columns);
        double worst = 0;
        for (int i = 0; i < count; i++)
        {
            if (!_outcomes.IsAudited(_drawn[i]))
            {
                continue; // computed exactly later
            }

            Span<float> row = _outcomes.Output.Row(_drawn[i]);
            ReadOnlySpan<float> truth = exact.Row(i);
            double error = 0;
            for (int c = 0; c < columns; c++)
            {
                double difference = Math.Abs((double)row[c] - truth[c]);
                error = double.IsNaN(difference) ? double.PositiveInfinity : Math.Max(error, difference);
            }

            // A tolerance relative to the row is held against the exact row.
            double own = _tolerance.Kind == ToleranceKind.Row ? _allowed / Math.Max(1e-300, _tolerance.Value * RowVectors.LargestMagnitude(truth)) : 1;
            worst = Math.Max(worst, error * own);
        }

        return worst;
    }
}
