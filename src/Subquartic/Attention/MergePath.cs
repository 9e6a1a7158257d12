using System.Collections.Concurrent;
using Subquartic.Generation;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Attention;

/// <summary>Attention in tiles of like queries, for each of which neighbouring keys are merged into one where a bound allows it.</summary>
/// <remarks>
/// <para><b>Identity.</b> For a tile with pilot q0 let u = q - q0 and w_k = exp(q0.k). A cluster C of keys has W = sum w, pi = w/W, centroid
/// c = sum pi k, value A = sum pi v, y = k - c, x = u.y (so E_pi x = 0), m = E_pi e^x >= 1 and X = E_pi[(e^x - 1)(v - A)]. With p_C
/// proportional to W_C exp(u.c_C) and o~ = sum p_C A_C, which is ordinary attention of u over the centroids with the biases log W,
/// o - o~ = sum_C p_C [ X_C + (m_C - 1)(A_C - o~) ] / sum_C p_C m_C, and the denominator is at least 1.</para>
/// <para><b>Theorem.</b> Let |x| &lt;= b_C in C, E_C = E_pi x^2, s_C the largest standard deviation of a value column under pi. Then
/// |o - o~|_inf &lt;= sum_C p_C [ phi(b_C) sqrt(E_C) s_C + psi(b_C) E_C |A_C - o~|_inf / 2 ].
/// <b>Proof.</b> |e^x - 1| &lt;= phi(b)|x| gives |X_j| = |E (e^x - 1)(v_j - A_j)| &lt;= phi(b) sqrt(E) s by Cauchy and Schwarz, and
/// m - 1 = E(e^x - 1 - x) &lt;= psi(b) E/2 (<see cref="ExpRemainder"/>). Nothing is assumed about the input.</para>
/// <para><b>Computed.</b> g1 … g4 orthonormal, a = g.u, u' = u - sum a g, z = g.k, S the covariance of z under pi, T the mean of |y|^2 under
/// pi, R = T - tr S, the spread outside of the span. With &lt;x&gt; = sum p_C x_C, any h_C > 0, psi &lt;= phi and Cauchy and Schwarz,
/// |o_j - o~_j| &lt;= G sqrt(&lt;phi h sd_j^2&gt;) + G^2/2 max_C h_C |A_Cj - o~_j|, for any G^2 >= &lt;phi E/h&gt;: the second term is
/// &lt;(phi E/h) (h |A_j - o~_j|)&gt;/2, its last factor taken at its largest. By Minkowski within clusters and over them,
/// G = sqrt(a'&lt;phi S/h&gt;a) + sqrt(&lt;phi E'/h&gt;), E'_C = E_pi(u'.y)^2, and of the last average there are two bounds, of which the lesser serves:
/// |u'|^2 &lt;phi R/h&gt;; and e^t u'Mu'. The first is loose by the dimension of u', the second by how much p_C(u) may exceed p_C(0).</para>
/// <para><b>M.</b> p_C(u)/p_C(0) = e^(u.c_C) / sum p_C'(0) e^(u.c_C') &lt;= e^(u.(c_C - cbar)) with cbar = sum p_C(0) c_C (Jensen), and
/// u.(c_C - cbar) &lt;= t = |(a_i/al_i)| max_C |(al_i g_i.(c_C - cbar))| + |u'| max_C |c_C - cbar|, both measured from some c_T near cbar and raised by its distance from it. With w_C the largest weight of a key in C,
/// p_C(0) E'_C &lt;= (w_C/W) sum_C (u'.(k - m))^2 for the plain mean m, from which squares under pi, about c, are no larger. Let T_bd be
/// the sum of (k - m)(k - m)^T over all nodes of depth d in block b of the tree, summed once for a head (a node's is that of its halves and of the difference of their
/// means). Then &lt;phi E'/h&gt; &lt;= e^t u'Mu', M = sum kappa_bd T_bd, kappa_bd the largest (phi/h)_C w_C/W of the clusters chosen there.</para>
/// <para>h is a typical sqrt(E) over a typical sd + sqrt(E)|A_C - A_T|, A_T near what the pilot's weights make of the values (any vector serves), al_i the deviation of a_i. |A_Cj - o~_j| is at
/// most |A_Cj - A_Tj| + |o~_j - A_Tj|. Value columns are taken in 16 groups, for each the largest sd and distance of its columns: one for all would be the
/// largest of them all. The averages are 27 more columns of values of the same attention.</para>
/// <para>T is rho times the spread about the node's own point r, rho = |C| max pi, since
/// E_pi |k - c|^2 &lt;= E_pi |k - r|^2 &lt;= rho mean|k - r|^2; sd^2 is rho times the like of values; max|y| is at most max|k - r| + |c - r|;
/// b is the lesser of max|u| max|y| and
/// kap max |(al_i (z_i - mean z_i))| + max|u'| max|y|.</para>
/// <para><b>Rounding</b> (u = 2^-24). Stored keys, queries, pilots and weights as in <see cref="FlatPath"/>: scores within
/// d1 + d2. The list's weights: centroids off by gamma_(m+4) max|k|, W by gamma_m, its logarithm and the kernel's score by
/// gamma_(c+6) |u| max|k| + 8u max|bias| + (4 n + 8) u, n blocks of keys. All of it, d, changes o~ by at most range(V) tanh(d/2) and the averages of
/// nonnegative columns by a factor e^(2d). Sums over keys as in <see cref="ExactAttention.RoundingBound(in AttentionInput)"/>; A_C is off
/// by gamma_(m+4) max|V|. z is off by eta = gamma_(c+2) max|k|, which moves the standard deviation of a.z by at most 2 eta |a|
/// (Minkowski again); S is taken about a mean that is off by gamma_(m+8) max|k|, which makes it no smaller, and its trace larger by at most the square of that. The g, checked in double, are orthonormal within 8 gamma_(c+16): R is raised by
/// <see cref="Orthogonality"/> T, and u' by the
/// <see cref="Leak"/> |u| that may lie in the span, measured by sqrt(T) &lt;= sqrt(R / Orthogonality). For M, u' is the stored vector, off by 16 u |u|: with tr M as
/// the largest eigenvalue that adds 10^-10 tr M |u|^2 to the square, and a thousandth of it, as (x + y)^2 &lt;= 1.001 x^2 + 1001 y^2. Means of nodes are stored within
/// 32 u max|k|, so a difference of two is off by 4 10^-6 max|k|; its square, a thousandfold, times a quarter of the keys at each of 7 depths, is at most
/// <see cref="Merging"/> max|k|^2 a key. Sums of products are off by gamma of their length times the traces (of T and M only the upper triangle is summed, whose part beyond the diagonal counts twice), W and cbar by gamma of the entries of the list.</para>
/// <para><b>Integers.</b> Where the machine is faster with them, keys less c_T and values of a list are rounded as in <see cref="QuantizedPath"/>, biases are added to the scores in float32, and the columns of the
/// certificate are averaged in float32 under the weights before they become integers. delta of that theorem, a change of scores, is added to d; o~ moves by range(V) A/(1 - A) and the rounding of values besides; and since the
/// kernel divides by the sum of the integers, at most 1/(1 - A) times that of the weights, averages grow by as much. A centroid of values that rounding takes out of the range of V is rounded to within it, which takes it nearer to what it stands for.</para>
/// </remarks>
internal sealed partial class MergePath(KernelSet kernels, CertifiedPlan plan) : IDisposable
{
    private const int Probes = 4, SampleTiles = 2, SampledQueries = 1024, WholeFrom = 8192, WaveTiles = 16, MaxGroup = 4, MaxAttempts = 3;

    private const double U = ExactAttention.UnitRoundoff;

    private const float LeastPilot = -80;

    private readonly ConcurrentBag<MergeWorkspace[]> _workspaces = [];
    private readonly KeySummaries _summaries = new(kernels);
    private readonly QueryTiles _tiles = new(kernels);
    private readonly List<MergeTile> _pool = [];
    private readonly List<int> _wave = [];
    private readonly List<(int Start, int Count)> _samples = [];
    private double[] _results = [];
    private (ScaleSchedule? Maps, int Keys, KeyTree Apart, KeyTree Across)? _trees;
    private FloatBuffer _pilots = new(0);
    private FloatBuffer _scores = new(0);
    private PackedMatrix? _packed;
    private HeadMeasure _head = null!;
    private RowOutcomes _outcomes = null!;
    private Tolerance _tolerance;
    private double _allowed;
    private double _gamma;
    private double _price;
    private bool _audited;
    private QuantizedPath? _integers;
    private int _group;
    private int _tileSize;
    private CertifiedCosts _costs = null!;

    private enum Pass
    {
        Prepare,
        Solve,
    }

    /// <summary>Multiply-adds spent.</summary>
    public double Work { get; private set; }

    /// <summary>Why the last head was given up, if it was.</summary>
    public string Refusal { get; private set; } = "";

    /// <summary>Share of the squared spread that the loss of orthogonality of g1, g2 in float32 may hide.</summary>
    public static double Orthogonality(int width) => 16 * ExactAttention.Gamma(width + 16);

    /// <summary>Share of |u| by which |u'| is raised.</summary>
    public static double Leak(int width) => 16 * ExactAttention.Gamma(width + 16) / Math.Sqrt(Orthogonality(width));

    /// <summary>Largest error of g.k relative to |k|.</summary>
    public static double ProjectionError(int width) => ExactAttention.Gamma(width + 4) * (1 + 1e-4);

    private int PilotRows => _audited ? 1 : MergeTile.PilotRows;

    /// <summary>Computes the rows it can certify, tile by tile.</summary>
    /// <param name="head">The head.</param>
    /// <param name="maps">Where its keys lie.</param>
    /// <param name="tolerance">What every row must meet.</param>
    /// <param name="allowed">A typical value of it, to plan with.</param>
    /// <param name="outcomes">Where rows are written.</param>
    /// <param name="integers">Begun with the head when rows that are not merged and lists are to be computed in integers; otherwise null.</param>
    /// <returns>Whether it went beyond the first tiles.</returns>
    public bool Run(HeadMeasure head, ScaleSchedule? maps, Tolerance tolerance, double allowed, RowOutcomes outcomes, QuantizedPath? integers = null)
    {
        (_audited, _integers) = (false, integers);
        if (!Begin(head, maps, tolerance, allowed, outcomes, plan.LeafErrorLimit))
        {
            return false;
        }

        _gamma = 1;
        int[] probes = ProbeTiles();
        _wave.Clear();
        _wave.AddRange(probes);
        return RunWave() && Pays(probes.Length) && RunAll(probes);
    }

    /// <summary>Reads the head; says whether neighbouring keys are alike enough to go on.</summary>
    private bool Begin(HeadMeasure head, ScaleSchedule? maps, Tolerance tolerance, double allowed, RowOutcomes outcomes, double errorLimit)
    {
        (_head, _tolerance, _outcomes, _allowed) = (head, tolerance, outcomes, allowed);
        int keys = head.Keys.Rows, width = head.Keys.Columns;
        if (_trees is not { } trees || trees.Keys != keys || trees.Maps != maps)
        {
            KeyTree apart = KeyTree.Create(maps, keys, plan.LeafSize);
            trees = (maps, keys, apart, maps is { Count: > 1 } ? KeyTree.Create(maps, keys, plan.LeafSize, across: true) : apart);
            _trees = trees;
        }

        Work = 0;
        int[] sizes = plan.TileSizes(head.Queries.Rows, _audited);
        _tileSize = sizes[0];

        // Whether the scales of this head say the same of a place, a few leaves of both trees tell.
        double length = TypicalLength(sizes), error = LeafError(trees.Apart);
        if (trees.Across != trees.Apart && LeafError(trees.Across) is var other && other < error)
        {
            error = other;
        }
        else
        {
            _summaries.Begin(head, trees.Apart);
        }

        _price = (float)(100 / allowed);
        Refusal = "keys differ too much from their neighbours";
        if (error > errorLimit * allowed)
        {
            return false;
        }

        _costs = plan.Costs.Value;
        if (!_audited && !Promises(sizes))
        {
            Refusal = "merging keys would take as long";
            return false;
        }

        _tiles.Build(head, _tileSize);
        _summaries.Build(scatters: !_audited);
        _packed = kernels.Pack(_summaries.Keys, reuse: _packed is { } pack && pack.N == keys && pack.K == width ? pack : Dispose(_packed));
        return true;

        double LeafError(KeyTree tree)
        {
            _summaries.Begin(head, tree);
            return _summaries.LeafError(length);
        }
    }

    /// <summary>A few tiles, spread evenly.</summary>
    private int[] ProbeTiles()
    {
        int tiles = _tiles.Tiles.Count, count = Math.Min(Probes, tiles);
        return [.. Enumerable.Range(0, count).Select(i => (int)(((2L * i) + 1) * tiles / (2 * count)))];
    }

    /// <summary>Computes all tiles but some, in waves.</summary>
    private bool RunAll(ReadOnlySpan<int> done)
    {
        int tiles = _tiles.Tiles.Count;
        _wave.Clear();
        for (int tile = 0; tile < tiles; tile++)
        {
            if (!done.Contains(tile))
            {
                _wave.Add(tile);
            }

            if (_wave.Count == WaveTiles || tile == tiles - 1)
            {
                RunWave();
                _wave.Clear();
            }
        }

        return true;
    }

    public void Dispose()
    {
        _summaries.Dispose();
        _pilots.Dispose();
        _judged.Dispose();
        _scores.Dispose();
        _packed?.Dispose();
        _pool.ForEach(tile => tile.Dispose());
        while (_workspaces.TryTake(out MergeWorkspace[]? works))
        {
            Array.ForEach(works, work => work.Dispose());
        }
    }

    /// <summary>Finds a few tiles of each size; returns the mean of max |u| of those of the first.</summary>
    private double TypicalLength(int[] sizes)
    {
        // A part of the queries shows how far those of a tile are apart, and is halved the sooner, which counts where a head is soon computed exactly.
        int step = _head.Queries.Rows >= WholeFrom ? 1 : Math.Max(1, _head.Queries.Rows / SampledQueries), rows = (_head.Queries.Rows + step - 1) / step;
        _samples.Clear();
        _tiles.Begin(_head, step);
        for (int size = sizes.Length - 1; size >= 0; size--)
        {
            for (int i = 0; i < SampleTiles; i++)
            {
                _samples.Add(_tiles.TileAt((int)(((2L * i) + 1) * rows / (2 * SampleTiles)), Math.Max(1, sizes[size] / step)));
            }
        }

        double sum = 0;
        for (int i = 0; i < SampleTiles; i++)
        {
            sum += SampleTile(sizes.Length - 1, i).LongestLength / SampleTiles;
        }

        return sum;
    }

    /// <summary>One of the tiles of a size, from the largest on.</summary>
    private MergeTile SampleTile(int size, int i)
    {
        if (_pool.Count == 0)
        {
            _pool.Add(new MergeTile());
        }

        (int start, int count) = _samples[(size * SampleTiles) + i];
        _pool[0].Radius(_head, new ArraySegment<int>(_tiles.Order, start, count));
        return _pool[0];
    }

    private static PackedMatrix? Dispose(PackedMatrix? pack)
    {
        pack?.Dispose();
        return null;
    }

    private static void Grow(ref FloatBuffer buffer, long length)
    {
        if (buffer.Length < length)
        {
            buffer.Dispose();
            buffer = new FloatBuffer(length);
        }
    }

    /// <summary>Computes the tiles of a wave; what they teach about guesses serves the next wave, whatever the threads.</summary>
    /// <returns>Whether any tile was merged.</returns>
    private bool RunWave()
    {
        int count = _wave.Count, keys = _head.Keys.Rows, stride = RowVectors.Padded(_head.Keys.Columns);
        if (count == 0)
        {
            return false;
        }

        while (_pool.Count < count)
        {
            _pool.Add(new MergeTile());
        }

        HeadMeasure.Resize(ref _results, 4 * WaveTiles);
        Grow(ref _pilots, (long)PilotRows * WaveTiles * stride);
        Grow(ref _scores, (long)PilotRows * count * keys);
        Run(Pass.Prepare, count);
        Matrix pilots = new(_pilots, 0, PilotRows * count, _head.Keys.Columns, stride);
        kernels.Gemm(pilots, _packed!, _scores.Matrix(PilotRows * count, keys));
        Work += (double)PilotRows * count * keys * _head.Keys.Columns;

        // Tiles that share a pass over the keys, fewer where threads would wait for each other.
        _group = Math.Clamp(count / (2 * kernels.Pool.Threads), 1, MaxGroup);
        Run(Pass.Solve, (count + _group - 1) / _group);
        double gamma = 0, price = 0;
        int merged = 0;
        for (int i = 0; i < count; i++)
        {
            ReadOnlySpan<double> result = _results.AsSpan(4 * i, 4);
            Work += result[0];
            if (result[1] > 0)
            {
                merged++;
                gamma += Math.Log(Math.Clamp(result[1], 0.3, 4)) * 0.6;
                price += Math.Log(result[2]);
            }
        }

        if (merged > 0)
        {
            _gamma *= _audited ? 1 : Math.Exp(gamma / merged);
            _price = (float)Math.Exp(price / merged);
        }

        return merged > 0;
    }

    private void Prepare(int index)
    {
        (int start, int count) = _tiles.Tiles[_wave[index]];
        MergeTile tile = _pool[index];
        var rows = new ArraySegment<int>(_tiles.Order, start, count);
        if (_audited)
        {
            tile.Radius(_head, rows);
        }
        else
        {
            tile.Prepare(_head, rows);
        }

        int length = PilotRows * tile.Pilots.Columns;
        tile.Pilots.Span()[..length].CopyTo(_pilots.Span((long)length * index, length));
    }

    private void Run(Pass pass, int tasks)
    {
        var body = new Body(this, pass);
        kernels.Pool.Run(tasks, ref body);
    }

    private readonly struct Body(MergePath path, Pass pass) : IParallelBody
    {
        public void Invoke(int task)
        {
            if (pass == Pass.Prepare)
            {
                path.Prepare(task);
            }
            else
            {
                path.Solve(task);
            }
        }
    }
}
